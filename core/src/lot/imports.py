"""Importing many small modules quickly."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def collector_paused() -> Iterator[None]:
    """A context in which cyclic garbage waits.

    Importing makes hardly any, but allocates so much that the collector runs again and again: pausing it takes a tenth
    off a command that only looks around.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
