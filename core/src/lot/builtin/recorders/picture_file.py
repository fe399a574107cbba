"""A picture as a file: libraries of services take the name of one, and copy it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def picture_file(name: str, png: bytes) -> Iterator[str]:
    """The path of a file `NAME.png` that is there inside the block; a colon in the name becomes a dash."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name.replace(':', '-')}.png"
        path.write_bytes(png)
        yield str(path)
