"""The global random generators of torch, NumPy and Python, kept as they are by what must not disturb training."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator

import numpy as np
import torch


@contextlib.contextmanager
def generators_kept(device: torch.device) -> Iterator[None]:
    """A context that may draw and reseed: afterwards every global generator is as it was."""
    python, of_numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(of_numpy)


class GeneratorStates:
    """The global generators as they are now.

    Of torch it is the seed that counts: measurements happen where its state is put back afterwards,
    so that drawing from it is harmless and only a new seed reaches further (that of each GPU too).
    """

    def __init__(self) -> None:
        self._states = _states()

    def changed(self) -> list[str]:
        """The libraries whose generator is another one now."""
        return [library for library, state in _states().items() if state != self._states[library]]


def _states() -> dict[str, object]:
    kind, keys, *rest = np.random.get_state(legacy=True)
    return {
        "torch": torch.initial_seed(),
        "numpy": (kind, np.asarray(keys).tobytes(), *rest),
        "python": random.getstate(),
    }
