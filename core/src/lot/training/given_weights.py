"""Initial values from a file or another run, in place of drawn ones."""

from __future__ import annotations

import fnmatch
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lot.contracts import Model
from lot.errors import BadInput
from lot.runs.load import BEST, best_checkpoint, checkpoint_at, named_run
from lot.storage import checkpoint
from lot.storage.folder import MANIFEST

PARTS = {
    "attn": "*.attention.*",
    "mlp": "*.mlp.*",
    "embed": "embedding.*",
    "positions": "positions.*",
    "head": "head.*",
}
"""Parts of a model that `--only` names, and the names of their tensors."""


@dataclass(frozen=True)
class GivenWeights:
    """Which tensors of a model were given.

    path: the file, or the checkpoint, absolute. sha256: of the file, or of the checkpoint's manifest. only: the parts that
    were asked for. taken: names that were copied. missing: names of the model (among the parts) that were not there, and kept
    their drawn values. unused: names that were there, and have no place in the model.
    """

    path: str
    sha256: str
    only: tuple[str, ...]
    taken: tuple[str, ...]
    missing: tuple[str, ...]
    unused: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """What run.json keeps."""
        return asdict(self)

    def __str__(self) -> str:
        parts = [f"{len(self.taken)} tensors from {self.path}"]
        for names, what in ((self.missing, "not there, drawn as ever"), (self.unused, "there, but not used")):
            if names:
                more = f" and {len(names) - 3} more" if len(names) > 3 else ""
                parts.append(f"{len(names)} {what}: {', '.join(names[:3])}{more}")
        return "; ".join(parts)


def give_weights(
    model: Model, source: str | Path, only: Sequence[str] = (), warn: Callable[[str], None] = lambda text: None
) -> GivenWeights:
    """Copy the tensors of equal names from `source`, a run, the folder of a checkpoint or a safetensors file.

    only: names out of `PARTS`; without any, all of the model. Raises BadInput, and changes nothing, where a shape differs,
    where nothing has a name of the model, and where there is no such source.
    """
    for part in only:
        if part not in PARTS:
            raise BadInput(where="--only", expected=f"one of {', '.join(PARTS)}", got=repr(part))
    path, digest, found = _read(Path(source), warn)
    own = model.state_dict()

    def asked(name: str) -> bool:
        return not only or any(fnmatch.fnmatchcase(name, PARTS[part]) for part in only)

    wanted = [name for name in own if asked(name)]
    taken = [name for name in wanted if name in found]
    for name in taken:
        if own[name].shape != found[name].shape:
            raise BadInput(
                where=f"{source}: {name}",
                expected=f"shape {list(own[name].shape)}",
                got=f"{list(found[name].shape)}",
                fix="give the new model the sizes of the old one, or take a part of it with --only",
            )
    if not taken:
        raise BadInput(
            f"{source}: no tensor has a name of this model", fix="name a run of LOT, or a file that lot export wrote"
        )
    with torch.no_grad():
        for name in taken:
            own[name].copy_(found[name])
    missing = tuple(name for name in wanted if name not in found)
    unused = tuple(sorted(name for name in found if name not in own and asked(name)))
    return GivenWeights(str(path), digest, tuple(only), tuple(taken), missing, unused)


def _read(source: Path, warn: Callable[[str], None]) -> tuple[Path, str, dict[str, Tensor]]:
    """Absolute path, digest and tensors of what `source` names."""
    if source.suffix == ".safetensors":
        return _read_file(source)
    path, step = named_run(source, BEST)
    folder = best_checkpoint(path, warn) if step is None else checkpoint_at(path, step)
    digest = hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()
    return folder.resolve(), digest, checkpoint.load(folder, state=False).model


def _read_file(file: Path) -> tuple[Path, str, dict[str, Tensor]]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        with file.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
        return file.resolve(), digest, load_file(file)
    except (OSError, SafetensorError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise BadInput(f"{file}: cannot be read as safetensors ({why})", where="--init-from") from None
