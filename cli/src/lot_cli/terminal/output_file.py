"""What a command says where it cannot write the file or folder that the user named,
so that all say the same."""

from __future__ import annotations

import contextlib
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
