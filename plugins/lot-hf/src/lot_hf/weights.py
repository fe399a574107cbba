"""Weights by the names of transformers' modules, read one by one from safetensors files; nothing else is ever unpickled."""

from __future__ import annotations

import abc
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from lot import BadInput

PICKLED = (".bin", ".pt", ".pth", ".ckpt")


class Weights(abc.ABC):
    """The tensors of a model by name. where: the folder or file, for messages. names: all of them."""

    where: str
    names: frozenset[str]

    @abc.abstractmethod
    def read(self, name: str) -> Tensor:
        """A tensor, in the type in which it is stored. Raises BadInput where it cannot be read."""


class SafetensorsFolder(Weights):
    """The safetensors files of a folder: those that its file `index` lists, or, without one, all that it has."""

    def __init__(self, folder: Path, index: str) -> None:
        self.where = str(folder)
        self._file_of: dict[str, Path] = {}
        for file in _files(folder, folder / index):
            with _opened(file) as opened:
                for name in opened.keys():  # noqa: SIM118, it is no dict
                    self._file_of[name] = file
        self.names = frozenset(self._file_of)

    def read(self, name: str) -> Tensor:
        with _opened(self._file_of[name]) as opened:
            tensor: Tensor = opened.get_tensor(name)
            return tensor


def _files(folder: Path, index: Path) -> list[Path]:
    """The safetensors files that make up the model. Raises BadInput where one is missing."""
    if index.is_file():
        try:
            named = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
            plain = all(Path(name).name == name for name in named)
        except (OSError, ValueError, KeyError, AttributeError, TypeError):
            raise BadInput(f"{index} is no index of safetensors files", where="path", fix="fetch it again") from None
        if not plain:
            raise BadInput(f"{index} names files outside its folder", where="path", fix="fetch it again")
        missing = [name for name in named if not (folder / name).is_file()]
        if missing:
            raise BadInput(
                f"{folder}: {len(missing)} of {len(named)} files of weights are missing, such as {missing[0]}",
                where="path",
                fix="fetch them",
            )
        return [folder / name for name in named]
    files = sorted(folder.glob("*.safetensors"))
    if files:
        return files
    pickled = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLED)
    got = f"{pickled[0]}, which is pickled: reading it could run code" if pickled else "none"
    fix = "convert it: transformers' save_pretrained writes safetensors" if pickled else "fetch the weights too"
    raise BadInput(where=f"path: {folder}", expected="weights in safetensors files", got=got, fix=fix)


@contextmanager
def _opened(file: Path) -> Iterator[safe_open]:
    try:
        with safe_open(file, framework="pt") as opened:
            yield opened
    except (OSError, SafetensorError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise BadInput(f"{file} is damaged or cut off ({why})", where="path", fix="fetch it again") from None
