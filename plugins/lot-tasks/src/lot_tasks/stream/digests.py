"""What tells whether a file has changed, and the small JSON files of an index."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from pathlib import Path
from typing import Any


def stamp(path: Path) -> list[int]:
    """What changes whenever a file changes: device, number, size, times of the last change of content and of facts."""
    facts = path.stat()
    return [facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns]


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
