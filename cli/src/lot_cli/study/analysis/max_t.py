"""One rule for the verdict and the interval of every contrast: single-step studentized max-T by joint sign flips.

Under the hypothesis that exchanging the two arms of every contrast changes nothing, all differences of one seed may
change their sign together. The largest |t| over all contrasts and metrics, under all such flips, says how large a |t|
noise alone makes anywhere (Westfall and Young, "Resampling-based multiple testing", 1993).
Both p and the critical value of the intervals come from the same uncentered flips,
so 0 lies in an interval exactly where p is above alpha.

The error rate is exact where the vectors of differences are jointly symmetric. With a shared reference and skewed noise
it is approximate, which `tests/statistics` measures.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

EXACT_PAIRS = 20
"""Up to here all flips are enumerated: 2^(n - 1), since a flip and its opposite have the same |t|."""
SAMPLED = 2**18
"""Flips beyond, the one that changes nothing among them; drawn with a key, so that equal data give an equal p."""
TIE = 1e-12
"""Cosines that differ by less are equal: only the rounding of sums tells them apart."""

_KEY = 0x10771  # of the sample; any fixed number would do
_HIGH_BLOCK = 2**20  # cosines that are held at a time: 8 MiB

Array = NDArray[np.float64]
Look = tuple[ArrayLike, float]
"""Differences (C, m) of an earlier planned look, and the alpha that was to be spent by then."""


class Joint(NamedTuple):
    """What the joint flips say of C contrasts."""

    p: Array
    """(C,) adjusted p: the share of flips whose largest |t| reaches the |t| of the contrast."""
    critical: float
    """|t| above which a contrast differs from 0; infinite where no |t| would do."""
    mean: Array
    """(C,) mean differences, in the unit of the metric."""
    error: Array
    """(C,) their standard errors; 0 where all differences of a contrast are equal."""

    def interval(self) -> tuple[Array, Array]:
        """Lower and upper ends (C,) of the simultaneous intervals; infinite where the critical value is."""
        half = np.full_like(self.error, np.inf) if math.isinf(self.critical) else self.critical * self.error
        return self.mean - half, self.mean + half


def max_t(differences: ArrayLike, alpha: float, earlier: Sequence[Look] = ()) -> Joint:
    """Adjusted p and the critical value of |t| for paired differences (C, n >= 2), one row per contrast and metric.

    alpha: the error rate to be spent up to and with this look.
    earlier: the planned looks at fewer pairs, each with its own differences, in the order in which they were made.
    A flip that would have led to a verdict at one of them counts against every contrast now, so p is the share of flips
    that reject before or reach |t| now, and what an earlier look did not spend is left to this one.
    Raises ValueError for fewer than two pairs or what is not finite.
    """
    d = _rows(differences)
    flips = Flips(d.shape[1])
    spent = np.zeros(flips.number, dtype=bool)
    for place, (seen, allowed) in enumerate(earlier):
        spent |= flips.largest(seen) > _cosine(max_t(seen, allowed, earlier[:place]).critical, _rows(seen).shape[1])
    largest = flips.largest(d)
    observed = np.abs(cosines(d))
    ordered = np.sort(largest[~spent])  # ascending
    reached = len(ordered) - np.searchsorted(ordered, observed - TIE, side="left")
    p = (spent.sum() + reached) / flips.number
    allowed_flips = math.floor(alpha * flips.number + 1e-9) - int(spent.sum())
    mean, error = d.mean(1), standard_error(d)
    return Joint(p, _critical(ordered, allowed_flips, d.shape[1]), mean, error)


def max_t_by_hand(differences: ArrayLike, alpha: float) -> tuple[list[float], float]:
    """p of every contrast and the critical |t|, from the definition: slow, for tests. differences: (C, n <= 10)."""
    d = _rows(differences)
    n = d.shape[1]

    def largest_t(rows: Array) -> list[float]:
        found = []
        for row in rows:
            error = row.std(ddof=1) / math.sqrt(n)
            found.append(abs(row.mean()) / error if error > 1e-9 * abs(row).max() else math.inf if row.any() else 0.0)
        return found

    noise = [max(largest_t(d * np.array(signs))) for signs in itertools.product((1, -1), repeat=n)]
    near = 1 - 1e-9
    p = [sum(m >= t * near for m in noise) / len(noise) for t in largest_t(d)]
    enough = [t for t in noise if sum(m >= t * near for m in noise) <= alpha * len(noise) + 1e-9]
    if alpha * len(noise) + 1e-9 < 2:  # the data themselves and their opposite are more flips than that
        return p, math.inf
    return p, max(t for t in noise if t not in enough)


class Flips:
    """The sign flips of n pairs; the sign of the first pair stays, since opposite flips have the same |t|."""

    def __init__(self, pairs: int) -> None:
        self.pairs = pairs
        self.exact = pairs <= EXACT_PAIRS
        self.number = 2 ** (pairs - 1) if self.exact else SAMPLED

    def largest(self, differences: ArrayLike) -> Array:
        """The largest |cosine| over the rows of differences (C, m <= n) under every flip, (number,).

        Differences of the first m pairs get the signs of those.
        """
        directions = _directions(_rows(differences))  # (C, m)
        pairs = directions.shape[1]
        if not self.exact:
            return self._sampled(directions)
        enumerated = _enumerated(directions)
        return np.tile(enumerated, 2 ** (self.pairs - pairs))  # the first pairs are the lowest bits

    def _sampled(self, directions: Array) -> Array:
        rng = np.random.Generator(np.random.Philox(key=[_KEY, self.pairs]))
        rows, pairs = directions.shape
        block = max(1, _HIGH_BLOCK // max(rows, self.pairs))
        found = np.empty(self.number)
        for start in range(0, self.number, block):
            size = min(block, self.number - start)
            signs = 1.0 - 2.0 * rng.integers(0, 2, size=(size, self.pairs), dtype=np.int8)
            if start == 0:
                signs[0] = 1.0  # the data as they are
            found[start : start + size] = np.abs(signs[:, :pairs] @ directions.T).max(1)
        return found


def cosines(differences: ArrayLike) -> Array:
    """The cosine (C,) between each row of differences (C, n) and a row of ones; in absolute value it grows with |t|.

    t^2 = (n - 1) r^2 / (1 - r^2), and flips leave the length of a row as it is:
    studentizing every flip costs no more than its mean. 0 for a row of zeros.
    """
    return np.asarray(_directions(_rows(differences)).sum(1))


def standard_error(differences: ArrayLike) -> Array:
    """Standard error (C,) of the mean of each row of differences (C, n); exactly 0 where they are equal up to
    rounding."""
    d = _rows(differences)
    error = d.std(1, ddof=1) / math.sqrt(d.shape[1])
    return np.where(np.ptp(d, axis=1) <= TIE * np.abs(d).max(1), 0.0, error)


def _enumerated(directions: Array) -> Array:
    """The largest |sum| over rows of directions (C, n) under all 2^(n - 1) flips: bit k flips pair k + 1.

    A sum is that of its low bits and that of its high bits, so each flip costs one addition per row.
    """
    rows, pairs = directions.shape
    low_pairs = min(pairs, 11)
    low = _sums(directions[:, 1:low_pairs]) + directions[:, :1]  # (C, L)
    high = _sums(directions[:, low_pairs:])  # (C, H)
    found = np.empty((high.shape[1], low.shape[1]))
    block = max(1, _HIGH_BLOCK // (rows * low.shape[1]))
    for start in range(0, high.shape[1], block):
        part = high[:, start : start + block]
        found[start : start + block] = np.abs(part[:, :, None] + low[:, None, :]).max(0)
    return found.ravel()


def _sums(columns: Array) -> Array:
    """All signed sums (C, 2^k) of columns (C, k); bit i of the index says that column i is subtracted."""
    sums = np.zeros((columns.shape[0], 1))
    for place in range(columns.shape[1]):
        column = columns[:, place : place + 1]
        sums = np.concatenate([sums + column, sums - column], axis=1)
    return sums


def _directions(d: Array) -> Array:
    """Rows of length 1 / sqrt(n): their sums are cosines with a row of ones. A row of zeros stays one."""
    largest = np.abs(d).max(1, keepdims=True)
    scaled = d / np.where(largest > 0, largest, 1.0)  # no square overflows
    length = np.sqrt((scaled**2).sum(1, keepdims=True) * d.shape[1])
    return np.asarray(scaled / np.where(length > 0, length, 1.0))


def _critical(ordered: Array, allowed: int, pairs: int) -> float:
    """The |t| that at most `allowed` flips exceed. ordered: the largest cosine of each flip, ascending."""
    if allowed <= 0 or not len(ordered):  # the data themselves are one of the flips
        return math.inf
    if allowed >= len(ordered):
        return 0.0
    cosine = float(ordered[len(ordered) - 1 - allowed]) + TIE
    if cosine >= 1 - TIE:
        return math.inf
    return cosine * math.sqrt((pairs - 1) / ((1 - cosine) * (1 + cosine)))


def _cosine(t: float, pairs: int) -> float:
    """The cosine that |t| belongs to; 2, which none exceeds, for an infinite one."""
    return 2.0 if math.isinf(t) else t / math.sqrt(pairs - 1 + t * t)


def _rows(differences: ArrayLike) -> Array:
    d = np.asarray(differences, dtype=np.float64)
    if d.ndim != 2 or d.shape[0] < 1 or d.shape[1] < 2:
        raise ValueError(f"differences: expected (contrasts, at least two pairs), got shape {d.shape}")
    if not np.isfinite(d).all():
        raise ValueError("differences: expected finite numbers")
    return d
