"""Random draws without replacement, for many rows at once."""

from __future__ import annotations

import numpy as np


def distinct(rng: np.random.Generator, rows: int, count: int, size: int) -> np.ndarray:
    """(rows, count) int64: in each row `count` different numbers of range(size), every ordered choice equally likely.

    Floyd's algorithm (Bentley and Floyd, "A sample of brilliance", 1987) over all rows at once, then a shuffle, because
    Floyd's sets come in no random order.
    """
    chosen = np.empty((rows, count), dtype=np.int64)
    for column, last in enumerate(range(size - count, size)):
        number = rng.integers(0, last + 1, rows)
        taken = (chosen[:, :column] == number[:, None]).any(axis=1)
        chosen[:, column] = np.where(taken, last, number)
    return rng.permuted(chosen, axis=1)


def distinct_weighted(rng: np.random.Generator, rows: int, count: int, weights: np.ndarray) -> np.ndarray:
    """(rows, count) int64: in each row `count` different places of weights (n,), drawn one after another by weight.

    Exponential clocks: place i rings at Exp(1) / weights[i], and the first to ring are taken in that order (Efraimidis
    and Spirakis, "Weighted random sampling with a reservoir", 2006).
    """
    rings = rng.standard_exponential((rows, len(weights))) / weights
    first = np.argpartition(rings, count - 1, axis=1)[:, :count]
    return np.take_along_axis(first, np.take_along_axis(rings, first, axis=1).argsort(axis=1), axis=1)
