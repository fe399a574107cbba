"""Where what can be made again is kept between runs: downloads, encoded texts, compiled kernels."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def cache_folder() -> Path:
    """$LOT_CACHE, else $XDG_CACHE_HOME/lot, else ~/.cache/lot. It may not exist yet.

    For a user without a home directory (an account of a container), it lies in the folder of temporary files.
    """
    if own := os.environ.get("LOT_CACHE"):
        return Path(own).expanduser()
    shared = os.environ.get("XDG_CACHE_HOME")
    if shared:
        return Path(shared).expanduser() / "lot"
    try:
        return Path.home() / ".cache" / "lot"
    except RuntimeError:
        return Path(tempfile.gettempdir()) / f"lot-{os.getuid()}"
