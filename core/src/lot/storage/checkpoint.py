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
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lot.errors import BadInput
from lot.storage.files import read_json
from lot.storage.folder import (
    FORMAT,
    STATE,
    folder_of,
    is_sound,
    publish,
    removed_on_failure,
    sealed,
    temporary_folder,
)
from lot.storage.tree import give_tensors, identity, numbers, take_tensors

_TENSORS = ("model.safetensors", "optimizer.safetensors")


class Checkpoint(NamedTuple):
    """What a checkpoint holds: `model` by parameter name, and `state`, a tree of dicts, lists, scalars and tensors."""

    step: int
    model: dict[str, Tensor]
    state: dict[str, Any]


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
    document = read_json(folder / STATE)
    if document is None:
        raise BadInput(f"{folder}: not a checkpoint of LOT ({STATE} is missing)")
    if document.get("format") != FORMAT:
        raise BadInput(where=str(folder), expected=f"a checkpoint of format {FORMAT}", got=document.get("format"))
    return document  # type: ignore[no-any-return]


@contextlib.contextmanager
def _only_ours(folder: Path) -> Iterator[None]:
    """What reading something else raises, as BadInput."""
    from safetensors import SafetensorError

    try:
        yield
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
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
    from lot.storage import shards

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


def load_weights(model: nn.Module, tensors: dict[str, torch.Tensor], folder: Path) -> None:
    """Copy `tensors` into `model`. Raises BadInput when names or shapes differ, and then changes nothing."""
    own = model.state_dict()
    for name in sorted(own.keys() | tensors.keys()):
        mine, theirs = own.get(name), tensors.get(name)
        if mine is None or theirs is None or mine.shape != theirs.shape:
            raise BadInput(
                where=f"{folder.name}: {name}",
                expected="no such tensor" if mine is None else f"shape {list(mine.shape)}",
                got="none" if theirs is None else f"shape {list(theirs.shape)}",
                fix="this checkpoint belongs to another configuration or plugin version",
            )
    model.load_state_dict(tensors)
