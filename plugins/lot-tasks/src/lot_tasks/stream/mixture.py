"""Which source each training sequence comes from: a pure function of its number, in fixed shares."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lot import BadInput
from lot.random import permutation

BLOCK = 1024
"""Sequences among which every source has its share."""


def shares_of(weights: Sequence[float]) -> np.ndarray:
    """Sequences (S,) of each source in a block: weights, rounded by largest remainders. Raises BadInput where one has none."""
    exact = BLOCK * np.asarray(weights, dtype=np.float64) / sum(weights)
    shares = np.floor(exact).astype(np.int64)
    rest = np.argsort(shares - exact, kind="stable")[: BLOCK - int(shares.sum())]
    shares[rest] += 1
    if (shares == 0).any():
        raise BadInput(
            where="mixture",
            expected=f"weights of at least 1/{BLOCK} of their sum",
            got=repr(min(weights)),
            fix="raise it, or leave the source out",
        )
    return shares


def assign(numbers: np.ndarray, shares: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The source (N,) of each sequence, and its number (N,) among those of that source.

    numbers: (N,) of sequences. Within each block the order is another one.
    """
    edges = np.concatenate([[0], np.cumsum(shares)])
    blocks, places = np.divmod(numbers, BLOCK)
    slots = np.empty_like(numbers)
    for block in np.unique(blocks):
        now = blocks == block
        slots[now] = permutation(places[now], BLOCK, seed, "task", "stream", "mixture", int(block))
    sources = np.searchsorted(edges, slots, side="right") - 1
    return sources, blocks * shares[sources] + slots - edges[sources]
