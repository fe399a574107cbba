"""Checkpoints: safetensors and JSON under a manifest of checksums, published by a rename. Nothing in one is ever executed.

checkpoints/step_00000500/
  model.safetensors      parameters and buffers by name
  optimizer.safetensors  every other tensor, by number
  state.json             the rest: where each tensor belongs, step, log offset, best metric, configuration, fingerprint
  MANIFEST.json          size and sha256 of each file

Where the processes of a run hold shards of the tensors, each writes its own (`shards.py`), in files of the same tensors:
  shard-00001-model-00001-of-00002.safetensors   of the first process: its shards of parameters and buffers
  shard-00001-model-00002-of-00002.safetensors   and of every other tensor
`load` reads both, to equal values.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lot.errors import BadInput
from lot.files import fsync_file, fsync_folder, write_atomic
from lot.skeleton import give_tensors, identity, numbers, take_tensors

FORMAT = 1
MANIFEST = "MANIFEST.json"
_FOLDER = re.compile(r"step_(\d{8,})\Z")
_TENSORS = ("model.safetensors", "optimizer.safetensors")
_STATE = "state.json"


class Checkpoint(NamedTuple):
    """What a checkpoint holds: `model` by parameter name, and `state`, a tree of dicts, lists, scalars and tensors."""

    step: int
    model: dict[str, Tensor]
    state: dict[str, Any]


def folder_of(checkpoints: Path, step: int) -> Path:
    """Where the checkpoint of `step` lies."""
    return checkpoints / f"step_{step:08d}"


def save(checkpoints: Path, step: int, model: Mapping[str, Tensor], state: dict[str, Any]) -> Path:
    """Write the checkpoint of `step`, whole or not at all; one that exists is kept. Raises OSError."""
    final = folder_of(checkpoints, step)
    if is_sound(final):
        return final
    temporary = temporary_folder(final)
    with removed_on_failure(temporary):
        kept, aliases = _without_aliases(model)
        tensors: dict[str, Tensor] = {}
        skeleton = take_tensors(state, tensors)
        for name, content in zip(_TENSORS, (kept, tensors), strict=True):
            _write(content, temporary / name)
        document = {"step": step, "aliases": aliases, "state": skeleton}
        publish(temporary, final, document, {name: sealed(temporary / name) for name in _TENSORS})
    return final


def temporary_folder(final: Path) -> Path:
    """A fresh folder beside `final`, in which it is written before it is published."""
    return Path(tempfile.mkdtemp(prefix=f".{final.name}.", suffix=".tmp", dir=final.parent))


@contextlib.contextmanager
def removed_on_failure(temporary: Path) -> Iterator[None]:
    """Remove `temporary` when the block fails."""
    try:
        yield
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def sealed(path: Path) -> dict[str, Any]:
    """Size and checksum of a file, all of which is on the disk when this returns."""
    fsync_file(path)
    return _digest(path)


def publish(temporary: Path, final: Path, document: dict[str, Any], files: dict[str, dict[str, Any]]) -> None:
    """Add state.json and the manifest to `temporary`, which holds exactly the sealed `files`, and rename it to `final`."""
    (temporary / _STATE).write_text(json.dumps({"format": FORMAT, **document}, indent=1, allow_nan=False), "utf-8")
    manifest = {**files, _STATE: sealed(temporary / _STATE)}
    write_atomic(temporary / MANIFEST, json.dumps({"format": FORMAT, "files": manifest}, indent=1))
    os.chmod(temporary, 0o755)
    if final.exists():
        set_aside(final)
    os.rename(temporary, final)
    fsync_folder(final.parent)


def facts(folder: Path) -> dict[str, Any]:
    """The state in a checkpoint without its tensors (None in their places). Raises BadInput as `load` does."""
    with _only_ours(folder):
        document = _document(folder)
        return give_tensors(document["state"], dict.fromkeys(numbers(document["state"])))  # type: ignore[no-any-return]


def load(
    folder: Path, device: torch.device | str = "cpu", *, like: Checkpoint | None = None, state: bool = True
) -> Checkpoint:
    """The checkpoint in `folder`, which `problem_of` has found sound: the model on `device`, other tensors on the CPU.

    like: tensors of the same names and places as those of the checkpoint; what is loaded is sharded (DTensor) and placed
    as they are, and this process reads no more than its shards. state: whether to read more than the model (else {}).
    Raises BadInput for what was never one of ours.
    """
    with _only_ours(folder):
        read = _read if like is None and (folder / _TENSORS[0]).exists() else _read_shards
        return read(folder, _document(folder), device, like, state)


def _document(folder: Path) -> dict[str, Any]:
    document = json.loads((folder / _STATE).read_text(encoding="utf-8"))
    if document.get("format") != FORMAT:
        raise BadInput(where=str(folder), expected=f"a checkpoint of format {FORMAT}", got=document.get("format"))
    return document  # type: ignore[no-any-return]


@contextlib.contextmanager
def _only_ours(folder: Path) -> Iterator[None]:
    """What reading something else raises, as BadInput."""
    from safetensors import SafetensorError

    try:
        yield
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(f"{folder}: not a checkpoint of LOT ({type(error).__name__}: {error})") from error


def _write(tensors: Mapping[str, Tensor], path: Path) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        save_file({name: _stored(tensor) for name, tensor in tensors.items()}, path)
    except (SafetensorError, RuntimeError) as error:  # what its writer raises for a full disk
        raise OSError(str(error)) from error


def _read(
    folder: Path, document: dict[str, Any], device: torch.device | str, _like: Checkpoint | None, state: bool
) -> Checkpoint:
    from safetensors.torch import load_file

    model = load_file(folder / _TENSORS[0], device=str(device))
    for name, source in document["aliases"].items():
        model[name] = model[source]
    if not state:
        return Checkpoint(document["step"], model, {})
    return Checkpoint(document["step"], model, give_tensors(document["state"], load_file(folder / _TENSORS[1])))


def _read_shards(
    folder: Path, document: dict[str, Any], device: torch.device | str, like: Checkpoint | None, state: bool
) -> Checkpoint:
    from lot import shards

    shapes = shards.shapes(folder)
    numbered = numbers(document["state"], None if like is None else like.state)
    wanted: dict[str, Tensor | None] = {} if like is None else {**like.model, **numbered}
    layout = {name: t for name, t in wanted.items() if t is not None and shapes.get(name) == t.shape}
    names = shapes.keys() - numbered.keys()
    found = shards.read(folder, shapes.keys() if state else names, layout)
    model = {name: found[name] if name in layout else found[name].to(device) for name in names}
    for name, source in document["aliases"].items():
        model[name] = model[source]
    return Checkpoint(document["step"], model, give_tensors(document["state"], found) if state else {})


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


def is_sound(folder: Path) -> bool:
    """Whether a checkpoint is there and nothing is wrong with it."""
    return folder.exists() and problem_of(folder) is None


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


def _stored(tensor: Tensor) -> Tensor:
    """A copy that owns its memory, densely laid out, on the CPU."""
    tensor = tensor.detach()
    return tensor.cpu().contiguous().clone() if tensor.device.type == "cpu" else tensor.cpu().contiguous()


def _without_aliases(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Each tensor once, and for the other names of a tied tensor the name that holds it."""
    kept: dict[str, Tensor] = {}
    aliases: dict[str, str] = {}
    owner: dict[tuple[Any, ...], str] = {}
    for name, tensor in tensors.items():
        first = owner.setdefault(identity(tensor), name) if tensor.numel() else name
        if first == name:
            kept[name] = tensor
        else:
            aliases[name] = first
    return kept, aliases
