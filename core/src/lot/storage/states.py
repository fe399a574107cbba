"""A file of byte strings by digest that only grows, and that several processes read and write at once.

A record is a header and its bytes, each with a checksum. What a killed writer left at the end, or what was damaged, is never
returned: it is written again, behind the rest. Imports no torch.
"""

from __future__ import annotations

import errno
import os
import shutil
import struct
import zlib
from pathlib import Path
from typing import BinaryIO, NamedTuple

from filelock import FileLock

from lot.storage.files import write_json

LARGEST = 64 << 30
"""Bytes of a file, at most."""
LEFT_FREE = 1 << 30
"""Bytes of the disk that are left to others."""
STATES, NOTE = "states", "index.json"
_MAGIC = b"LOTstate"
_HEADER = struct.Struct("<8s32sQI")  # magic, digest of what the bytes belong to, their number, their checksum
_CHECK = struct.Struct("<I")  # of the header
_SIZE = _HEADER.size + _CHECK.size


class _Place(NamedTuple):
    """Where the bytes of a record are, and their checksum."""

    offset: int
    size: int
    check: int


class StateFile:
    """The file in `folder`, which is made with the first record. title: what it holds, for people."""

    def __init__(self, folder: Path, title: str) -> None:
        self.folder, self.title = folder, title
        self._path = folder / STATES
        self._places: dict[bytes, _Place] = {}
        self._end = 0  # of the sound records that were found so far

    def get(self, digest: bytes) -> bytearray | None:
        """The bytes of a digest (32 bytes), or None where there are none, or no sound ones. Raises OSError."""
        try:
            with self._path.open("rb") as file:
                if digest not in self._places:
                    self._find(file)
                place = self._places.get(digest)
                if place is None:
                    return None
                file.seek(place.offset)
                found = bytearray(place.size)
                if file.readinto(found) == place.size and zlib.crc32(found) == place.check:
                    return found
        except FileNotFoundError:
            self._forget()
            return None
        del self._places[digest]
        return None

    def put(self, digest: bytes, content: bytes) -> None:
        """Keep bytes under a digest. Raises OSError, also where they would take the room that is to stay free."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder.with_name(f"{self.folder.name}.lock")):
            if not (self.folder / NOTE).exists():
                write_json(self.folder / NOTE, {"title": self.title})
            with self._path.open("ab"):
                pass
            with self._path.open("r+b") as file:
                self._find(file)
                if digest in self._places:  # another process was faster
                    return
                self._require_room(_SIZE + len(content))
                self._append(file, digest, content)

    def _append(self, file: BinaryIO, digest: bytes, content: bytes) -> None:
        """Write a record behind the sound ones; what a killed writer left there goes."""
        place = _Place(self._end + _SIZE, len(content), zlib.crc32(content))
        header = _HEADER.pack(_MAGIC, digest, place.size, place.check)
        try:
            file.truncate(self._end)
            file.seek(self._end)
            file.write(header + _CHECK.pack(zlib.crc32(header)) + content)
            file.flush()
        except OSError:
            file.truncate(self._end)
            raise
        self._places[digest] = place
        self._end = place.offset + place.size

    def _find(self, file: BinaryIO) -> None:
        """Take in the records that came since the last look."""
        size = os.fstat(file.fileno()).st_size
        if size < self._end:  # it was cut, or begun anew
            self._forget()
        while self._end + _SIZE <= size:
            file.seek(self._end)
            header, check = file.read(_HEADER.size), file.read(_CHECK.size)
            if _CHECK.pack(zlib.crc32(header)) != check:
                return
            magic, digest, length, content_check = _HEADER.unpack(header)
            end = self._end + _SIZE + length
            if magic != _MAGIC or end > size:
                return
            self._places[digest] = _Place(self._end + _SIZE, length, content_check)
            self._end = end

    def _forget(self) -> None:
        self._places, self._end = {}, 0

    def _require_room(self, size: int) -> None:
        if self._end + size > LARGEST:
            raise OSError(errno.EFBIG, f"it has the {LARGEST >> 30} GiB that it may have", str(self._path))
        if shutil.disk_usage(self.folder).free < size + LEFT_FREE:
            raise OSError(errno.ENOSPC, f"less than {LEFT_FREE >> 30} GiB of the disk would stay free", str(self._path))
