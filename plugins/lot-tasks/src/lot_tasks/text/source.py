"""A text as bytes, divided into training, validation and test parts that do not overlap."""

from __future__ import annotations

import hashlib
from pathlib import Path

import attrs
import numpy as np

from lot import BadInput, Split
from lot_tasks.config import TextConfig
from lot_tasks.text.corpora import CORPORA
from lot_tasks.text.download import file_sha256
from lot_tasks.text.files import readable
from lot_tasks.text.formats import HEAD, refuse_other_formats

SPLITS: tuple[Split, ...] = ("train", "validation", "test")
_CUTS = (0.90, 0.95)  # of the bytes: training before the first, test after the second
_MAPPED = 1 << 26  # bytes from which on a file is not read into memory


@attrs.frozen(kw_only=True)
class Part:
    """A stretch of a file: data (n,) uint8, which begins at byte `offset` of the file called `file`."""

    data: np.ndarray
    file: str
    offset: int

    def text(self) -> str:
        """The part as text. Raises BadInput with file and offset where it is not UTF-8."""
        try:
            return self.data.tobytes().decode("utf-8")
        except UnicodeDecodeError as error:
            raise BadInput(
                f"{self.file}: byte {self.offset + error.start} is not UTF-8 text ({error.reason})",
                fix="store it as UTF-8, or read its bytes with the task bytes_lm",
            ) from error


@attrs.frozen(kw_only=True)
class Source:
    """The parts of a text by split; fingerprint: changes when any byte changes; path: of a file of the user."""

    parts: dict[Split, Part]
    fingerprint: str
    path: str | None = None

    @property
    def size(self) -> int:
        """Bytes in all."""
        return sum(len(part.data) for part in self.parts.values())


def open_source(config: TextConfig) -> Source:
    """The text that a task was asked for: a file of the user or a corpus. Raises BadInput where it cannot be read."""
    if config.path is not None:
        path = readable(config.path, "path")
        data = _read(path)
        if config.format == "text":
            refuse_other_formats(data[:HEAD].tobytes(), path)
        parts = _divide(data, str(path))
        return Source(parts=parts, fingerprint=_fingerprint(path), path=str(path.absolute()))
    assert config.corpus is not None, "without a path there is a corpus"
    if config.corpus == "pydoc":
        data = np.frombuffer(pydoc_text().encode(), dtype=np.uint8)
        return Source(
            parts=_divide(data, "the help topics of Python"), fingerprint=hashlib.sha256(data.tobytes()).hexdigest()
        )
    corpus = CORPORA[config.corpus]
    files = corpus.files()
    if len(files) == 1:
        parts = _divide(_read(files[0]), str(files[0]))
    else:
        parts = {
            split: Part(data=_read(file), file=str(file), offset=0) for split, file in zip(SPLITS, files, strict=True)
        }
    return Source(parts=parts, fingerprint=corpus.sha256)


def pydoc_text() -> str:
    """The help topics of the running Python, in alphabetical order: English text that needs no network.

    It differs a little between versions of Python.
    """
    from pydoc_data.topics import topics

    return "\n".join(topics[name] for name in sorted(topics))


def _divide(data: np.ndarray, file: str) -> dict[Split, Part]:
    """90, 5 and 5 % of the bytes, in this order, each cut moved on to the next character (by 3 bytes at most)."""
    edges = [0]
    for share in _CUTS:
        cut = int(share * len(data))
        while cut < len(data) and data[cut] & 0xC0 == 0x80:  # inside a character of UTF-8
            cut += 1
        edges.append(cut)
    edges.append(len(data))
    return {
        split: Part(data=data[start:stop], file=file, offset=start)
        for split, start, stop in zip(SPLITS, edges[:-1], edges[1:], strict=True)
    }


def _read(path: Path) -> np.ndarray:
    """The bytes of a file; a large one is mapped into memory rather than read, and must not change while it is used."""
    try:
        if path.stat().st_size < _MAPPED:
            return np.fromfile(path, dtype=np.uint8)
        return np.memmap(path, dtype=np.uint8, mode="r")
    except OSError as error:
        raise BadInput(f"{path} cannot be read ({error.strerror or error})", where="path") from error


def _fingerprint(path: Path) -> str:
    try:
        return file_sha256(path)
    except OSError as error:
        raise BadInput(f"{path} cannot be read ({error.strerror or error})", where="path") from error
