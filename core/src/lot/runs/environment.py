"""What a run ran on: versions, commits, device, and the facts that decide whether bits can repeat."""

from __future__ import annotations

import functools
import hashlib
import json
import platform
import subprocess
from collections.abc import Collection
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from lot.config.schema import Config
from lot.devices.device import device_name


def environment(device: torch.device) -> dict[str, Any]:
    """Versions of Python, torch, LOT and all plugins, the device, and commits where they are known."""
    from lot.plugins.registry import registry

    plugins = {}
    for plugin in registry().plugins():
        plugins[plugin.distribution] = {"version": plugin.version, "commit": commit_of(plugin.module)}
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "device": device_name(device),
        "plugins": plugins,
    }


def kernel_forms(distributions: Collection[str], device: torch.device) -> dict[str, str]:
    """What the kernels of some plugins compute with on `device`, by name; they are built now where they have to be."""
    from lot.plugins.registry import registry

    reg = registry()
    found = [item for item in reg.components("kernel") if item.distribution in distributions]
    return {reg.name_of(item): item.create(item.configure()).form(device) for item in found}


def fingerprint(
    device: torch.device, precision: str, compiled: bool, world: int, kernels: dict[str, str]
) -> dict[str, Any]:
    """What the bits of a result depend on beside the configuration; equal fingerprints promise equal bits.

    kernels: as `kernel_forms` gives them.
    """
    return {
        "torch": torch.__version__,
        "device": device_name(device),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "matmul_precision": torch.get_float32_matmul_precision(),
        "precision": precision,
        "compile": compiled,
        "processes": world,
        "kernels": kernels,
    }


def model_origin(config: Config) -> str | None:
    """The digest of what the model is made from beside its options, such as pretrained files; None where there is nothing."""
    if config.model.kept is not None and config.model.kept.origin is not None:
        return config.model.kept.origin
    content = config.model.component.content_of(config.model.used)
    if content is None:
        return None
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@functools.cache
def commit_of(module: str) -> str | None:
    """The git commit of the source of `module` (with `+changes` where the tree differs), or None outside a checkout."""
    import importlib.util

    try:
        spec = importlib.util.find_spec(module.partition(".")[0])
    except (ImportError, ValueError):
        return None
    if spec is None or spec.origin is None or "site-packages" in spec.origin:
        return None
    folder = Path(spec.origin).parent

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()

    try:
        commit = git("rev-parse", "HEAD")
        return commit + ("+changes" if git("status", "--porcelain", "--", ".") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def core_version() -> str:
    """The version of lot-core."""
    return metadata.version("lot-core")
