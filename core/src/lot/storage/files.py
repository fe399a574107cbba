"""Writing files so that a reader, after a crash at any moment, finds the old content or the new, never a half."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import tempfile
from pathlib import Path
from typing import Any


def write_atomic(path: Path, text: str) -> None:
    """Replace `path` by `text`: temporary file beside it, fsync, rename, fsync of the folder. Raises OSError."""
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    fsync_folder(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Replace `path` by `value` as JSON, atomically; NaN and infinities are refused."""
    write_atomic(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """The JSON in `path`, or None where there is no such file. Raises OSError and ValueError."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def make_folder(root: Path, *parts: str) -> Path:
    """The folder of these names below `root`, made where it is not there yet.

    Raises OSError, also for a symbolic link among them: in a folder from someone else it may lead anywhere.
    """
    folder = root
    for part in parts:
        folder = folder / part
        if folder.is_symlink():
            raise OSError(errno.ELOOP, "a symbolic link in place of a folder", str(folder))
        folder.mkdir(exist_ok=True)
    return folder


def fsync_file(path: Path) -> None:
    """Wait until the content of `path` is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def fsync_folder(path: Path) -> None:
    """Wait until the names in the folder `path` are on the disk, where the system can say so."""
    if os.name == "posix":
        fsync_file(path)


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files and folders that a killed writer left in `folder`."""
    import shutil

    for entry in folder.glob(".*.tmp"):
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)
