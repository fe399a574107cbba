"""SHA-256 of large files, remembered for as long as the system says that a file has not changed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import time
from pathlib import Path
from typing import Any

from lot import cache_folder
from lot_tasks.text.download import file_sha256

_FRESH = 2_000_000_000
"""Nanoseconds after a change in which another one could go unnoticed, since clocks of file systems are coarse."""
_WORTH = 1 << 20
"""Bytes from which on a digest is worth a file that remembers it."""


def stamp(path: Path) -> list[int]:
    """What changes whenever a file changes: device, number, size, times of the last change of content and of facts."""
    facts = path.stat()
    return [facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns]


def digest(path: Path) -> str:
    """The SHA-256 of a file. Raises OSError."""
    before = stamp(path)
    note = (
        cache_folder() / "streams" / "digests" / f"{hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:32]}.json"
    )
    known = read_json(note)
    if isinstance(known, dict) and known.get("stamp") == before and isinstance(known.get("sha256"), str):
        return str(known["sha256"])
    found = file_sha256(path)
    settled = time.time_ns() - max(before[3:]) > _FRESH
    if before[2] >= _WORTH and settled and stamp(path) == before:
        with contextlib.suppress(OSError):  # it is computed again next time
            note.parent.mkdir(parents=True, exist_ok=True)
            write_json(note, {"file": str(path), "stamp": before, "sha256": found})
    return found


def read_json(path: Path) -> Any:
    """The JSON in a file of ours; None where it is not there, or damaged."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None


def write_json(path: Path, value: Any) -> None:
    """Replace `path` by `value`, all or nothing, on the disk when this returns. Raises OSError."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        with temporary.open("x", encoding="utf-8") as file:
            json.dump(value, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def combined(*parts: Any) -> str:
    """A digest of plain data."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
