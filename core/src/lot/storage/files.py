"""Writing files so that a reader, after a crash at any moment, finds the old content or the new, never a half."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lot.errors import not_a_file

MOST_JSON = 1 << 28
"""Bytes of a JSON file that are read; the largest of ours are results of studies, with some megabytes."""


def temporary_name(path: Path, suffix: str = ".tmp") -> Path:
    """A name beside `path` that nothing has, for what takes its place when it is whole.

    Files and folders are made under it with the rights that the user's umask leaves, which `tempfile` would not do.
    """
    return path.with_name(f".{path.name}.{secrets.token_hex(6)}{suffix}")


@contextlib.contextmanager
def created_as_usual(path: Path) -> Iterator[None]:
    """Gives the file `path`, which the context writes, the rights that the umask leaves; safetensors gives it fewer."""
    path.touch(exist_ok=False)
    mode = stat.S_IMODE(path.stat().st_mode)
    yield
    path.chmod(mode)


def write_atomic(path: Path, text: str) -> None:
    """Replace `path` by `text`: temporary file beside it, fsync, rename, fsync of the folder. Raises OSError."""
    temporary = temporary_name(path)
    try:
        with temporary.open("x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    fsync_folder(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Replace `path` by `value` as JSON, atomically; NaN and infinities are refused."""
    write_atomic(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """The JSON in `path`, or None where there is no such file. Raises OSError and ValueError, for what has no end too."""
    try:
        if (what := not_a_file(path)) is not None:
            raise ValueError(f"it is {what}")
        with path.open("rb") as file:
            raw = file.read(MOST_JSON + 1)
    except FileNotFoundError:
        return None
    if len(raw) > MOST_JSON:
        raise ValueError(f"more than {MOST_JSON >> 20} MiB")
    try:
        return json.loads(raw.decode())
    except RecursionError:
        raise ValueError("nested too deeply") from None


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
    _fsync(path, os.O_RDWR)  # Windows flushes no handle that cannot be written


def fsync_folder(path: Path) -> None:
    """Wait until the names in the folder `path` are on the disk, where the system can say so."""
    if os.name == "posix":
        _fsync(path, os.O_RDONLY)


def _fsync(path: Path, access: int) -> None:
    handle = os.open(path, access)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files and folders that a killed writer left in `folder`."""
    import shutil

    for entry in folder.glob(".*.tmp"):
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)
