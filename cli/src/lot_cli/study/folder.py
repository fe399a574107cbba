"""The folder of a study or a sweep, which one process at a time may use."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from lot.errors import BadInput
from lot.storage.contained import refuse_what_leads_out


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Makes and locks the folder while the context lasts; folders that it made and that stay empty
    go again.

    Raises BadInput where another process holds the folder, or where it cannot be written.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        refuse_what_leads_out(folder)
        lock.acquire()
    except Timeout:
        raise BadInput(
            f"{folder} is in use by another process", fix="wait for it, or give this one another name"
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
                for path in made:
                    path.rmdir()
