"""Checkpoints: safetensors and JSON under a manifest of checksums, published by a rename. Nothing in one is ever executed.

checkpoints/step_00000500/
  model.safetensors      parameters and buffers by name
  optimizer.safetensors  every other tensor
  state.json             the rest: where each tensor belongs, step, log offset, best metric, configuration, fingerprint
  MANIFEST.json          size and sha256 of each file
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lot.errors import BadInput
from lot.files import fsync_file, fsync_folder, write_atomic

FORMAT = 1
MANIFEST = "MANIFEST.json"
_FOLDER = re.compile(r"step_(\d{8,})\Z")
_FILES = ("model.safetensors", "optimizer.safetensors", "state.json")


class Checkpoint(NamedTuple):
    """What a checkpoint holds: `model` by parameter name, and `state`, a tree of dicts, lists, scalars and tensors."""

    step: int
    model: dict[str, Tensor]
    state: dict[str, Any]


def folder_of(checkpoints: Path, step: int) -> Path:
    """Where the checkpoint of `step` lies."""
    return checkpoints / f"step_{step:08d}"


def save(checkpoints: Path, step: int, model: dict[str, Tensor], state: dict[str, Any]) -> Path:
    """Write the checkpoint of `step`, whole or not at all; one that exists is kept. Raises OSError."""
    from safetensors.torch import save_file

    final = folder_of(checkpoints, step)
    if final.exists() and not problem_of(final):
        return final
    temporary = Path(tempfile.mkdtemp(prefix=f".{final.name}.", suffix=".tmp", dir=checkpoints))
    try:
        model_tensors, aliases = _without_aliases(model)
        tensors: dict[str, Tensor] = {}
        skeleton = _take_tensors(state, tensors, {})
        document = {"format": FORMAT, "step": step, "aliases": aliases, "state": skeleton}
        save_file(model_tensors, temporary / _FILES[0])
        save_file(tensors, temporary / _FILES[1])
        (temporary / _FILES[2]).write_text(json.dumps(document, indent=1, allow_nan=False), encoding="utf-8")
        manifest = {name: _digest(temporary / name) for name in _FILES}
        for name in _FILES:
            fsync_file(temporary / name)
        write_atomic(temporary / MANIFEST, json.dumps({"format": FORMAT, "files": manifest}, indent=1))
        os.chmod(temporary, 0o755)
        if final.exists():
            set_aside(final)
        os.rename(temporary, final)
    except (OSError, RuntimeError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if isinstance(error, OSError):
            raise
        raise OSError(str(error)) from error
    except Exception as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if type(error).__name__ == "SafetensorError":  # what its writer raises for a full disk
            raise OSError(str(error)) from error
        raise
    fsync_folder(checkpoints)
    return final


def load(folder: Path, device: torch.device | str = "cpu") -> Checkpoint:
    """The checkpoint in `folder`, which `problem_of` has found sound. Raises BadInput for what was never one of ours."""
    from safetensors import SafetensorError

    try:
        return _load(folder, device)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(f"{folder}: not a checkpoint of LOT ({type(error).__name__}: {error})") from error


def _load(folder: Path, device: torch.device | str) -> Checkpoint:
    from safetensors.torch import load_file

    document = json.loads((folder / _FILES[2]).read_text(encoding="utf-8"))
    if document.get("format") != FORMAT:
        raise BadInput(where=str(folder), expected=f"a checkpoint of format {FORMAT}", got=document.get("format"))
    model = load_file(folder / _FILES[0], device=str(device))
    for name, source in document["aliases"].items():
        model[name] = model[source]
    tensors = load_file(folder / _FILES[1], device="cpu")
    return Checkpoint(document["step"], model, _give_tensors(document["state"], tensors))


def problem_of(folder: Path) -> str | None:
    """What is wrong with the checkpoint in `folder`, or None: files, sizes and checksums against its manifest."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["files"]
        present = {entry.name for entry in folder.iterdir()} - {MANIFEST}
        if present != set(manifest):
            odd = min(present ^ set(manifest))
            return f"{odd} is {'not in its manifest' if odd in present else 'missing'}"
        for name, recorded in manifest.items():
            size = (folder / name).stat().st_size
            if size != recorded["bytes"]:
                return f"{name} has {size} bytes instead of {recorded['bytes']}"
            if _digest(folder / name) != recorded:
                return f"{name} does not match its checksum"
    except FileNotFoundError:
        return f"{MANIFEST} is missing"
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        return f"{MANIFEST} cannot be read ({type(error).__name__})"
    return None


def steps(checkpoints: Path) -> list[int]:
    """The steps that have a checkpoint, rising; not yet verified."""
    if not checkpoints.is_dir():
        return []
    matches = (_FOLDER.match(entry.name) for entry in checkpoints.iterdir() if entry.is_dir())
    return sorted(int(match[1]) for match in matches if match)


def latest_sound(checkpoints: Path, warn: Callable[[str], None]) -> Path | None:
    """The newest sound checkpoint, or None where there never was one; damaged ones are set aside with a warning.

    Raises BadInput when there are checkpoints and all are damaged.
    """
    found = steps(checkpoints)
    for step in reversed(found):
        folder = folder_of(checkpoints, step)
        problem = problem_of(folder)
        if problem is None:
            return folder
        aside = set_aside(folder)
        warn(f"checkpoint {folder.name} is damaged ({problem}); set aside as {aside.name}, using the one before it")
    if found:
        raise BadInput(
            f"{checkpoints}: all {len(found)} checkpoints are damaged and were set aside",
            fix="restore one, or start the run anew in another directory",
        )
    return None


def set_aside(folder: Path) -> Path:
    """Rename a damaged checkpoint to `.damaged-*`, so that nothing uses it and nothing is lost."""
    number = 0
    while (aside := folder.with_name(f".damaged-{folder.name}-{number}")).exists():
        number += 1
    os.rename(folder, aside)
    return aside


def prune(checkpoints: Path, keep: int, best: int | None) -> None:
    """Remove all but the newest `keep` checkpoints and that of step `best`."""
    for step in steps(checkpoints)[:-keep]:
        if step != best:
            shutil.rmtree(folder_of(checkpoints, step), ignore_errors=True)


def link(path: Path, target: Path) -> None:
    """Point the symbolic link `path` to `target`, for people; where links are not to be had, there is none."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(os.path.relpath(target, path.parent))
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)


def _digest(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _identity(tensor: Tensor) -> tuple[Any, ...]:
    return (tensor.untyped_storage().data_ptr(), tensor.storage_offset(), tensor.shape, tensor.stride(), tensor.dtype)


def _stored(tensor: Tensor) -> Tensor:
    """A copy that owns its memory, densely laid out, on the CPU."""
    tensor = tensor.detach()
    return tensor.cpu().contiguous().clone() if tensor.device.type == "cpu" else tensor.cpu().contiguous()


def _without_aliases(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Each tensor once, and for the other names of a tied tensor the name that holds it."""
    kept: dict[str, Tensor] = {}
    aliases: dict[str, str] = {}
    owner: dict[tuple[Any, ...], str] = {}
    for name, tensor in tensors.items():
        first = owner.setdefault(_identity(tensor), name) if tensor.numel() else name
        if first == name:
            kept[name] = _stored(tensor)
        else:
            aliases[name] = first
    return kept, aliases


def _take_tensors(tree: Any, tensors: dict[str, Tensor], seen: dict[tuple[Any, ...], str]) -> Any:
    """JSON that stands for `tree`; its tensors move to `tensors`, each once."""
    if isinstance(tree, Tensor):
        key = seen.setdefault(_identity(tree), str(len(tensors))) if tree.numel() else str(len(tensors))
        if key not in tensors:
            tensors[key] = _stored(tree)
        return {"$tensor": key}
    if isinstance(tree, dict):
        return {"$dict": [[_key(key), _take_tensors(value, tensors, seen)] for key, value in tree.items()]}
    if isinstance(tree, (list, tuple)):
        items = [_take_tensors(item, tensors, seen) for item in tree]
        return {"$tuple": items} if isinstance(tree, tuple) else items
    if isinstance(tree, float) and (tree != tree or tree in (float("inf"), float("-inf"))):
        return {"$float": repr(tree)}
    if tree is None or isinstance(tree, (bool, int, float, str)):
        return tree
    raise TypeError(f"a checkpoint holds tensors, numbers, texts, lists and dicts; got {type(tree).__name__}")


def _key(key: Any) -> int | str:
    if isinstance(key, (int, str)) and not isinstance(key, bool):
        return key
    raise TypeError(f"a key in a checkpoint is a text or an int; got {type(key).__name__}")


def _give_tensors(tree: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(tree, list):
        return [_give_tensors(item, tensors) for item in tree]
    if not isinstance(tree, dict):
        return tree
    ((kind, value),) = tree.items()
    if kind == "$tensor":
        return tensors[value]
    if kind == "$dict":
        return {key: _give_tensors(item, tensors) for key, item in value}
    if kind == "$tuple":
        return tuple(_give_tensors(item, tensors) for item in value)
    return float(value)
