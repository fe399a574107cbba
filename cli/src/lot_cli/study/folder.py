"""The folder of a study, held by one process at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from lot.errors import BadInput


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """The study's folder, made and locked; removed again where nothing came of it. Raises BadInput where that cannot be."""
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise BadInput(
            f"{folder} is in use by another process", fix="wait for it, or name the study otherwise"
        ) from None
    except OSError as error:
        raise BadInput(f"{folder}: cannot be written ({error.strerror})", fix="run it from another folder") from None
    try:
        yield
    finally:
        lock.release()
        if all(entry.name == ".lock" for entry in folder.iterdir()):
            (folder / ".lock").unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                folder.rmdir()
                folder.parent.rmdir()
