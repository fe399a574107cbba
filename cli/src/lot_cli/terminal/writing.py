"""Files that a command writes where it was told to."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Where `path` cannot be written in this context, BadInput says so."""
    from lot.errors import BadInput

    try:
        yield
    except OSError as error:
        told = error.strerror or error
        raise BadInput(f"{path}: cannot be written ({told})", fix="choose another folder with --out") from None
