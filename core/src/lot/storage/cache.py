"""Where what can be made again is kept between runs: downloads, encoded texts, compiled kernels."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """$LOT_CACHE, else $XDG_CACHE_HOME/lot, else ~/.cache/lot. It may not exist yet."""
    if own := os.environ.get("LOT_CACHE"):
        return Path(own).expanduser()
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared).expanduser() if shared else Path.home() / ".cache") / "lot"
