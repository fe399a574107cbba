"""Differences of two arms seed by seed: scored where a run diverged, and described where they are not symmetric.

The sign-flip test asks whether the two arms are exchangeable, not whether their means are equal.
The two questions part where differences are skewed or fall in two groups, so a report has to say where they do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import attrs
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Shape = Literal["", "skewed", "split"]
Values = Sequence[float | None]
"""A value per seed; None where the run diverged or the value is not finite."""

MIN_SHAPE = 8
"""With fewer values nothing is said about their shape: a gap or a long tail would often be chance."""


@attrs.frozen(kw_only=True)
class Differences:
    """The differences of one contrast in one metric."""

    scored: Array  # (seeds,) the metric's unit; empty where no pair has both values
    finishing: Array  # (pairs,) those of the pairs that have both values
    lost: tuple[int, int]  # runs of the arm, and of the other arm, that gave no finite value

    @property
    def invented(self) -> int:
        """Pairs whose difference is scored and not measured."""
        return len(self.scored) - len(self.finishing)

    def wins(self, higher: bool) -> tuple[int, int]:
        """Pairs in which the arm is better, and in which the other one is; a tie counts for neither."""
        gain = self.scored if higher else -self.scored
        return int((gain > 0).sum()), int((gain < 0).sum())


def differences(ours: Values, theirs: Values, higher: bool) -> Differences:
    """ours - theirs, seed by seed.

    A pair in which one run diverged gets the largest finite difference of the contrast, against the arm that diverged;
    a pair in which both did gets 0. So one lost run neither hides what nine pairs show nor counts for more than
    the most extreme of them, and a flip leaves its size as it is.
    """
    finishing = np.array([a - b for a, b in zip(ours, theirs, strict=True) if a is not None and b is not None], float)
    lost = (sum(a is None for a in ours), sum(b is None for b in theirs))
    if not len(finishing):
        return Differences(scored=np.empty(0), finishing=finishing, lost=lost)
    worst = float(np.abs(finishing).max()) * (-1 if higher else 1)  # what the arm gets where it diverged

    def score(a: float | None, b: float | None) -> float:
        if a is not None and b is not None:
            return a - b
        return 0.0 if a is None and b is None else worst if a is None else -worst

    return Differences(
        scored=np.array([score(a, b) for a, b in zip(ours, theirs, strict=True)]), finishing=finishing, lost=lost
    )


def shape(values: Array, successes: tuple[int, int] | None = None) -> Shape:
    """How differences (n,) fail to be symmetric about their middle.

    `split`: two or more lie on each side of a gap that is wider than half of their range, or the runs of the two arms
    lie so (successes: how many of each lie in the better group) and one arm has two or more in each group.
    `skewed`: their skewness is more than 2.5 times the standard error that it has for normal values
    (Joanes and Gill, "Comparing measures of sample skewness and kurtosis", 1998).
    """
    n = len(values)
    if successes is not None and any(2 <= good <= n - 2 for good in successes):
        return "split"
    if n < MIN_SHAPE or np.ptp(values) <= 1e-12 * np.abs(values).max():
        return ""
    if gap_of(values) is not None:
        return "split"
    centered = values - values.mean()
    skewness = math.sqrt(n * (n - 1)) / (n - 2) * float((centered**3).mean() / (centered**2).mean() ** 1.5)
    error = math.sqrt(6 * n * (n - 1) / ((n - 2) * (n + 1) * (n + 3)))
    return "skewed" if abs(skewness) > 2.5 * error else ""


def succeeded(ours: Values, theirs: Values, higher: bool) -> tuple[int, int] | None:
    """How many runs of each arm lie in the better of two groups; None where the values form no two groups.

    A run that diverged is in neither.
    """
    finite = np.array([value for value in (*ours, *theirs) if value is not None], float)
    middle = gap_of(finite) if len(finite) >= MIN_SHAPE else None
    if middle is None:
        return None

    def good(values: Values) -> int:
        return sum(value is not None and (value > middle) == higher for value in values)

    return good(ours), good(theirs)


def gap_of(values: Array) -> float | None:
    """The middle of the gap that parts values (n,) in two groups, each of two or more; None where there is none."""
    ordered = np.sort(values)
    gaps = np.diff(ordered)[1:-1]  # each side keeps two
    if not len(gaps) or gaps.max() <= 0.5 * (ordered[-1] - ordered[0]):
        return None
    place = int(gaps.argmax()) + 1
    return float((ordered[place] + ordered[place + 1]) / 2)
