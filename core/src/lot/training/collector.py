"""Python's garbage collector, which rests while modules are imported. Imports no torch: it is needed before."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def collector_resting(*, keep: bool = False) -> Iterator[None]:
    """A context for imports: what they make stays, and looking for garbage in it takes a sixth of the time of importing torch.

    keep: whether what is there at the end is never looked at again, which suits a process that makes one run.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
        if keep:
            gc.freeze()
    finally:
        if enabled:
            gc.enable()
