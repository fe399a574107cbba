"""The device of a run: chosen by name, and named for people."""

from __future__ import annotations

import platform
from pathlib import Path

import torch

from lot.errors import BadInput


def choose_device(name: str) -> torch.device:
    """The device called `name`; `auto` is a CUDA GPU where there is one. Raises BadInput for one that is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device).tolist()  # a device that holds no values (meta) cannot compute
    except (RuntimeError, AssertionError, NotImplementedError):
        known = ["auto", "cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
        known += ["mps"] if torch.backends.mps.is_available() else []
        raise BadInput(where="--device", expected=f"one of {', '.join(known)}", got=repr(name)) from None
    return device


def device_name(device: torch.device) -> str:
    """The device for people: the GPU's product name, or the CPU's and its threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "mps":
        return f"GPU (MPS) of {_cpu_model()}"
    return f"CPU ({_cpu_model()}), {torch.get_num_threads()} threads"


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
