"""Checkpoints of which every process writes and reads its own shards: torch's DCP in safetensors files. Imported on demand.

DCP's own format executes code when it is read; its safetensors files are data. Its reader takes
whatever shards lie in a folder, missing or stale ones too: hence a fresh folder each time, and the manifest of `checkpoint.py`.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.state_dict_loader import load as dcp_load
from torch.distributed.checkpoint.state_dict_saver import save as dcp_save

from lot.devices.processes import Team
from lot.storage.folder import folder_of, is_sound, publish, removed_on_failure, sealed, temporary_folder
from lot.storage.tree import take_tensors


def save(checkpoints: Path, step: int, model: Mapping[str, Tensor], state: dict[str, Any], team: Team) -> Path:
    """As `checkpoint.save`, called by all processes of the team, with tensors that are sharded or equal everywhere."""
    final = folder_of(checkpoints, step)
    made = team.lead(lambda: "" if is_sound(final) else str(temporary_folder(final)))
    if not made:
        return final
    temporary = Path(made)
    with removed_on_failure(temporary) if team.main else nullcontext():
        rest: dict[str, Tensor] = {}
        document = {"step": step, "aliases": {}, "state": take_tensors(state, rest)}
        with _first_failure():
            dcp_save(
                {**model, **rest},
                storage_writer=HuggingFaceStorageWriter(
                    str(temporary), {**dict.fromkeys(model, 1), **dict.fromkeys(rest, 2)}, save_distributed=True
                ),
            )
        files = _sealed_by_all(temporary, team)
        team.lead(lambda: publish(temporary, final, document, files))
    return final


def shapes(folder: Path) -> dict[str, torch.Size]:
    """The whole shape of every tensor in the safetensors files of `folder`, by name."""
    return {name: entry.size for name, entry in _metadata(folder).items()}


def read(folder: Path, names: Collection[str], layout: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors `names`: whole and on the CPU, or, where `layout` has a tensor of that name, sharded and placed like it."""
    entries = _metadata(folder)
    found = {
        name: torch.empty_like(layout[name])
        if name in layout
        else torch.empty(entries[name].size, dtype=entries[name].properties.dtype)
        for name in names
    }
    with _first_failure(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")  # each reads for itself
        dcp_load(dict(found), storage_reader=HuggingFaceStorageReader(str(folder)), no_dist=True)
    return found


def _metadata(folder: Path) -> dict[str, Any]:
    return HuggingFaceStorageReader(str(folder)).read_metadata().state_dict_metadata


def _sealed_by_all(temporary: Path, team: Team) -> dict[str, dict[str, Any]]:
    """Size and checksum of every file, each found by the process that wrote it. Raises OSError in all."""
    digests: dict[str, dict[str, Any]] = {}
    problem = ""
    try:
        for path in sorted(temporary.glob(f"shard-{team.rank + 1:05d}-*.safetensors")):
            digests[path.name] = sealed(path)
    except OSError as error:
        problem = str(error)
    from_all = team.gather((digests, problem))
    for _, problem in from_all:
        if problem:
            raise OSError(problem)
    return {name: digest for files, _ in from_all for name, digest in files.items()}


@contextmanager
def _first_failure() -> Iterator[None]:
    """DCP collects what fails in all processes and raises all of it in each; here the first of it."""
    try:
        yield
    except CheckpointException as error:
        raise min(error.failures.items())[1][0] from error
