"""The lock of a run directory: one process holds it, and others can ask whether it is held without taking it.

Who asked by taking the lock would keep a run from starting at that moment. The lock is that of `filelock` on `.lock`.
While a process holds it, it also holds a record lock on `.running`, of which a system tells who has one (F_GETLK).
"""

from __future__ import annotations

import contextlib
import os
import struct
import sys
from pathlib import Path

from filelock import FileLock, Timeout

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCK, MARK = ".lock", ".running"
_FLOCK = (
    None
    if fcntl is None
    else {"linux": ("hhqqi", 0), "darwin": ("qqihh", 3)}.get(
        sys.platform
    )  # on another system, the lock itself is tried
)
"""The fields of C's `struct flock`, all 0 but the type of the lock: a whole file from its start; and where the type stands."""
_held: set[tuple[int, int]] = set()
"""Marks of this process by device and number of the file: a process is not told of its own record locks."""


class RunLock:
    """The lock of the run directory `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = FileLock(folder / LOCK, timeout=0)
        self._mark: int | None = None

    def acquire(self) -> None:
        """Take the lock. Raises filelock.Timeout where another process has it, and OSError."""
        self._lock.acquire()
        if _FLOCK is None:
            return
        try:
            self._mark = os.open(self._folder / MARK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
            with contextlib.suppress(OSError):  # a file system without record locks: it then counts as not held
                fcntl.lockf(self._mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _held.add(_file_of(self._mark))
        except OSError:
            self.release()
            raise

    def release(self) -> None:
        """Let others take it."""
        if self._mark is not None:
            _held.discard(_file_of(self._mark))
            os.close(self._mark)  # the record lock goes with it
            self._mark = None
        self._lock.release()

    def held(self) -> bool:
        """Whether a process has the lock; where that cannot be told (a folder of another user), it counts as held."""
        if _FLOCK is None:
            return self._held_by_trying()
        mark = self._folder / MARK
        try:
            if _file_of(mark) in _held:  # opening it, and closing it again, would drop the record lock of this process
                return True
            handle = os.open(mark, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return True
        try:
            layout, place = _FLOCK
            fields = [0] * 5
            fields[place] = fcntl.F_RDLCK
            answer = fcntl.fcntl(handle, fcntl.F_GETLK, struct.pack(layout, *fields))
            return bool(struct.unpack(layout, answer)[place] != fcntl.F_UNLCK)
        except OSError:
            return True
        finally:
            os.close(handle)

    def _held_by_trying(self) -> bool:
        if not (self._folder / LOCK).exists():
            return False
        try:
            with FileLock(self._folder / LOCK, timeout=0):
                return False
        except (Timeout, OSError):
            return True

    def remove(self) -> None:
        """Remove the files of the lock."""
        for name in (LOCK, MARK):
            (self._folder / name).unlink(missing_ok=True)


def _file_of(file: int | Path) -> tuple[int, int]:
    facts = os.stat(file)
    return facts.st_dev, facts.st_ino
