"""Writing an index: appended to, noted now and then, and taken up again from the last note."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lot_tasks.stream.digests import read_json, write_json
from lot_tasks.stream.encoders import Encoder

FILES = ("tokens.bin", "ends.bin", "hashes.bin")
_NOTE = "progress.json"
_NOTHING: dict[str, Any] = {"place": [0, 0], "read": 0, "documents": 0, "empty": 0, "tokens": 0, "files": {}}
"""The note of an index that is not begun."""
_CHUNK = 1 << 22


class _Appended:
    """A file that grows, with the checksum of all that it holds. Raises OSError."""

    def __init__(self, path: Path, noted: dict[str, Any] | None) -> None:
        self.path, self.sum = path, hashlib.sha256()
        self.bytes = 0 if noted is None else noted["bytes"]
        self.sound = noted is None
        self.file = path.open("r+b" if noted is not None else "wb")
        if noted is not None:
            left = self.bytes
            while left and (chunk := self.file.read(min(left, _CHUNK))):
                self.sum.update(chunk)
                left -= len(chunk)
            self.sound = self.sum.hexdigest() == noted["sha256"]
            self.file.truncate(self.bytes)
            self.file.seek(self.bytes)

    def add(self, data: np.ndarray) -> None:
        raw = data.tobytes()
        self.file.write(raw)
        self.sum.update(raw)
        self.bytes += len(raw)

    def saved(self) -> dict[str, Any]:
        """Size and checksum of what is on the disk when this returns."""
        self.file.flush()
        os.fsync(self.file.fileno())
        return {"bytes": self.bytes, "sha256": self.sum.hexdigest()}


class Writer:
    """An index that is being written to `folder`, from the last note on where there is one that is sound.

    place: from where its part is to be read. read: bytes of text so far. seen: documents so far, empty ones included.
    tokens: so far. complete: whether no document is half there. Raises OSError.
    """

    def __init__(self, folder: Path, encoder: Encoder) -> None:
        self.folder, self.encoder = folder, encoder
        self.files: list[_Appended] = []
        try:
            self._begin(read_json(folder / _NOTE) or _NOTHING)
            sound = all(file.sound for file in self.files)
        except (KeyError, TypeError, IndexError, FileNotFoundError):  # no note of ours, or no file that it tells of
            sound = False
        if not sound:
            self.close()
            self._begin(_NOTHING)

    def _begin(self, note: dict[str, Any]) -> None:
        self.files.clear()
        for name in FILES:
            self.files.append(_Appended(self.folder / name, note["files"].get(name)))
        self.place: tuple[int, int] = (note["place"][0], note["place"][1])
        self.read, self.documents = note["read"], note["documents"]
        self.empty, self.tokens = note["empty"], note["tokens"]
        self._document = _Document()

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the files."""
        for file in self.files:
            with contextlib.suppress(OSError):  # what is buffered finds no room, and is not in the note either
                file.file.close()

    @property
    def seen(self) -> int:
        return self.documents + self.empty

    @property
    def complete(self) -> bool:
        return self._document.bytes == 0

    def add(
        self, texts: Sequence[str], encoded: Sequence[np.ndarray], ends: Sequence[bool], place: tuple[int, int]
    ) -> None:
        """Append texts with their numbers; a document goes on until one of them ends it. place: after the last one."""
        end = np.array([self.encoder.end], dtype=self.encoder.dtype)
        pieces: list[np.ndarray] = []
        document_ends: list[int] = []
        hashes: list[int] = []
        for text, ids, last in zip(texts, encoded, ends, strict=True):
            self.read += self._document.add(text)
            if not self._document.blank:  # white space before the text is left out where it fills a piece
                pieces.append(ids)
                self.tokens += len(ids)
            if not last:
                continue
            if self._document.blank:
                self.empty += 1
            else:
                pieces.append(end)
                self.tokens += 1
                self.documents += 1
                document_ends.append(self.tokens)
                hashes.append(self._document.hash())
            self._document = _Document()
        if pieces:
            self.files[0].add(np.concatenate([piece.astype(self.encoder.dtype) for piece in pieces]))
        self.files[1].add(np.array(document_ends, dtype="<i8"))
        self.files[2].add(np.array(hashes, dtype="<u8"))
        self.place = place

    def save(self) -> None:
        """Note how far this has come, when all of it is on the disk."""
        write_json(self.folder / _NOTE, {**self._facts(), "place": list(self.place)})

    def finish(self) -> dict[str, Any]:
        """What a finished index says of itself; the note is gone then."""
        facts = self._facts()
        (self.folder / _NOTE).unlink(missing_ok=True)
        return facts

    def _facts(self) -> dict[str, Any]:
        files = {name: file.saved() for name, file in zip(FILES, self.files, strict=True)}
        counts = {name: getattr(self, name) for name in ("read", "documents", "empty", "tokens")}
        return {**counts, "files": files}


class _Document:
    """A document while its pieces come. blank: whether there was nothing but white space so far."""

    def __init__(self) -> None:
        self.bytes, self.blank = 0, True
        self._hash = hashlib.blake2b(digest_size=8)

    def add(self, text: str) -> int:
        """Take in a piece; returns its bytes."""
        data = text.encode()
        self._hash.update(data)
        self.bytes += len(data)
        self.blank = self.blank and not text.strip()
        return len(data)

    def hash(self) -> int:
        """Of the whole document."""
        return int.from_bytes(self._hash.digest(), "little")
