"""SHA-256 of large files, remembered for as long as the system says that a file has not changed. Imports no torch."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from pathlib import Path

from lot.storage.cache import cache_folder
from lot.storage.files import read_json, write_json

_FRESH = 2_000_000_000
"""Nanoseconds after a change in which another one could go unnoticed, since clocks of file systems are coarse."""
_WORTH = 1 << 20
"""Bytes from which on a digest is worth a file that remembers it."""


_known: dict[tuple[str, ...], str] = {}
"""Digests of this process by path and stamp, for where the cache cannot be written."""


def file_digest(path: Path) -> str:
    """The SHA-256 of a file, as hexadecimal digits. Raises OSError.

    That of a large one is kept in the cache with device, number, size and times of the file, and computed again when one of
    them is another.
    """
    stamp, real = _stamp(path), path.resolve()
    key = (str(real), *map(str, stamp))
    large = stamp[2] >= _WORTH
    if large and (known := _known.get(key) or _noted(real, stamp)) is not None:
        return known
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    settled = time.time_ns() - max(stamp[3:]) > _FRESH
    if large and settled and _stamp(path) == stamp:
        _known[key] = found
        with contextlib.suppress(OSError):  # the next process computes it again
            note = _note(real)
            note.parent.mkdir(parents=True, exist_ok=True)
            write_json(note, {"file": str(path), "stamp": stamp, "sha256": found})
    return found


def _noted(path: Path, stamp: list[int]) -> str | None:
    """The digest that the cache has of a file with this stamp."""
    try:
        known = read_json(_note(path))
    except (OSError, ValueError):
        return None
    sound = isinstance(known, dict) and known.get("stamp") == stamp and isinstance(known.get("sha256"), str)
    return str(known["sha256"]) if sound else None


def _note(path: Path) -> Path:
    return cache_folder() / "digests" / f"{hashlib.sha256(os.fsencode(path)).hexdigest()[:32]}.json"


def _stamp(path: Path) -> list[int]:
    """What changes whenever a file changes: device, number, size, times of the last change of content and of facts."""
    facts = path.stat()
    return [facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns]
