"""The global random generators of torch, numpy and Python: what draws from them cannot be repeated, and these checks see it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from lot.testing.failure import require


def _states(torch_too: bool = True) -> dict[str, str]:
    with np.printoptions(threshold=10_000):  # else all but the ends of the state is left out of its text
        states = {"numpy": repr(np.random.get_state()), "random": repr(random.getstate())}
    if torch_too:
        states["torch"] = torch.random.get_rng_state().numpy().tobytes().hex()
    return states


@contextmanager
def untouched_generators(what: str, *, torch_too: bool = True) -> Iterator[None]:
    """Raise KitFailure where a global generator moves meanwhile; torch_too: whether torch's counts."""
    before = _states(torch_too)
    yield
    after = _states(torch_too)
    moved = sorted(name for name in before if before[name] != after[name])
    require(
        not moved,
        f"global random generators during {what}",
        expected="no draws from them",
        got=f"draws from that of {' and '.join(moved)}",
        cause="a random call without a generator; only dropout and noise in training may use torch's default one",
    )


@contextmanager
def other_generators(seed: int) -> Iterator[None]:
    """All global generators in another state, which must change no result; afterwards they are as they were."""
    numpy_state, python_state = np.random.get_state(), random.getstate()
    try:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            np.random.seed(seed)
            random.seed(seed)
            yield
    finally:
        np.random.set_state(numpy_state)
        random.setstate(python_state)
