"""Where a pretrained model is: a folder, a GGUF file or a name on the hub. Imports no torch."""

from __future__ import annotations

import abc
import functools
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from lot import BadInput, file_digest
from lot_hf import gguf_file, hub
from lot_hf.architecture import Architecture, read_architecture

if TYPE_CHECKING:
    from lot_hf.weights import Weights

CONFIG, TOKENIZER, INDEX = "config.json", "tokenizer.json", "model.safetensors.index.json"
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?\Z")


class Source(abc.ABC):
    """Files of a pretrained model. tokenizer: the path of its tokenizer.json, or None where it has none."""

    tokenizer: Path | None

    @abc.abstractmethod
    def facts(self) -> Mapping[str, Any]:
        """What the files say of the model, as a config.json does. Raises BadInput."""

    @abc.abstractmethod
    def architecture(self) -> Architecture:
        """The same, read. Raises BadInput."""

    @abc.abstractmethod
    def content(self) -> Any:
        """Plain data that change whenever the model does: digests of its files, or its commit on the hub."""

    @abc.abstractmethod
    def weights(self) -> Weights:
        """Its weights, each read when it is asked for. Raises BadInput."""


class Folder(Source):
    """A folder with config.json and safetensors files, as transformers writes it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tokenizer = path / TOKENIZER if (path / TOKENIZER).is_file() else None

    def facts(self) -> Mapping[str, Any]:
        return _json(self.path / CONFIG)

    def architecture(self) -> Architecture:
        found = read_architecture(self.facts(), f"path: {self.path / CONFIG}")
        return found if self.tokenizer is None else attrs.evolve(found, tokens=_count_tokens(self.tokenizer))

    def content(self) -> Any:
        files = [self.path / CONFIG, self.path / INDEX, *sorted(self.path.glob("*.safetensors"))]
        return {file.name: _digest(file) for file in files if file.is_file()}

    def weights(self) -> Weights:
        from lot_hf.weights import SafetensorsFolder

        return SafetensorsFolder(self.path, INDEX)


class GGUF(Source):
    """A GGUF file, perhaps quantized; a tokenizer.json may lie beside it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        beside = path.parent / TOKENIZER
        self.tokenizer = beside if beside.is_file() else None

    def facts(self) -> Mapping[str, Any]:
        return gguf_file.read_facts(self.path)[0]

    def architecture(self) -> Architecture:
        tokens = gguf_file.read_facts(self.path)[1]
        return attrs.evolve(read_architecture(self.facts(), f"path: {self.path}"), tokens=tokens)

    def content(self) -> Any:
        return _digest(self.path)

    def weights(self) -> Weights:
        from lot_hf.gguf_weights import Dequantized

        return Dequantized(self.path)


class OnHub(Source):
    """A model on the hub: its config.json is fetched at once, its weights when they are asked for."""

    def __init__(self, name: str, revision: str | None) -> None:
        self.name, self.revision = name, revision
        self._small = Folder(hub.fetch(name, revision, [CONFIG, TOKENIZER], needs=CONFIG))
        self.tokenizer = self._small.tokenizer

    def facts(self) -> Mapping[str, Any]:
        return self._small.facts()

    def architecture(self) -> Architecture:
        return self._small.architecture()

    def content(self) -> Any:
        return [self.name, self._small.path.name]  # the cache names the folder of a model by its commit

    def weights(self) -> Weights:
        patterns = [CONFIG, TOKENIZER, "*.safetensors", "*.safetensors.index.json"]
        return Folder(hub.fetch(self.name, self.revision, patterns, needs="*.safetensors")).weights()


def find_source(path: str, revision: str | None = None) -> Source:
    """The files that the option `path` names. Raises BadInput that says what is not there."""
    here = Path(path).expanduser()
    try:
        folder, file = here.is_dir(), here.is_file()
    except (OSError, ValueError):  # a name that is too long, or holds a NUL
        folder = file = False
    if (folder or file) and revision is not None:
        raise BadInput("is for a model on the hub; this one is here", where="revision", fix="leave it out")
    if file:
        if here.suffix != ".gguf":
            raise BadInput(where="path", expected="a folder, a .gguf file or a name on the hub", got=path)
        return GGUF(here)
    if folder:
        return _in_folder(here)
    if _HUB_NAME.match(path) and not path.endswith((".gguf", ".json", ".safetensors")):
        return OnHub(path, revision)
    raise BadInput(f"no such folder or file: {path}", where="path")


def _in_folder(path: Path) -> Source:
    if (path / CONFIG).is_file():
        return Folder(path)
    found = sorted(path.glob("*.gguf"))
    if len(found) == 1:
        return GGUF(found[0])
    if found:
        raise BadInput(f"{path} holds {len(found)} GGUF files", where="path", fix=f"name one, as in {found[0]}")
    raise BadInput(
        where="path", expected="a folder with config.json and safetensors files, or a GGUF file", got=f"{path} without"
    )


def _json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"{file} cannot be read ({error.strerror or error})", where="path") from None
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{file} is no JSON ({error})", where="path") from None
    if not isinstance(found, dict):
        raise BadInput(where=f"path: {file}", expected="a table", got=type(found).__name__)
    return found


def _digest(file: Path) -> str:
    """The sha256 of a file. Raises BadInput where it cannot be read."""
    try:
        return file_digest(file)
    except OSError as error:
        raise BadInput(f"{file} cannot be read ({error.strerror or error})", where="path") from None


def _count_tokens(file: Path) -> int:
    """The number of ids that a tokenizer.json gives, up to the largest."""
    facts = file.stat()
    return _count(file, facts.st_mtime_ns, facts.st_size)


@functools.lru_cache(maxsize=8)
def _count(file: Path, _changed: int, _size: int) -> int:
    content = _json(file)
    try:
        vocabulary = content["model"]["vocab"]
        # A table from piece to id or, in a unigram model, a list whose places are the ids.
        ids = vocabulary.values() if isinstance(vocabulary, dict) else range(len(vocabulary))
        added = [token["id"] for token in content.get("added_tokens") or ()]
        return 1 + max([*ids, *added])
    except (KeyError, TypeError, ValueError):
        raise BadInput(f"{file} is no tokenizer file of Hugging Face's tokenizers library", where="path") from None
