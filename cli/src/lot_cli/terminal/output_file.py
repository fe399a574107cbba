"""What a command says where it cannot write the file or folder that the user named,
so that all say the same."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from lot.errors import BadInput


@contextlib.contextmanager
def writing_to(path: Path, fix: str = "choose another folder with --out") -> Iterator[None]:
    """Turns an OSError in the context into BadInput, which names `path` and says what to do
    (`fix`)."""
    try:
        yield
    except OSError as error:
        raise BadInput(f"{path}: cannot be written ({error.strerror or error})", fix=fix) from None


def require_writable(folder: Path, path: Path, fix: str) -> None:
    """Refuse, before anything is computed for it, a `path` whose `folder` nothing can be written to. Raises BadInput as
    `writing_to` does; what only the writing shows, such as a full disk, is left to it."""
    if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK):
        return
    lacking = "Not a directory" if os.path.lexists(folder) else "No such file or directory"
    why = "Permission denied" if folder.is_dir() else lacking
    raise BadInput(f"{path}: cannot be written ({why})", fix=fix)
