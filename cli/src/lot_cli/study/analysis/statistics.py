"""Paired statistics for a handful of seeds: what may be said about the difference of two arms.

Everything works on the last axis, so that many studies can be judged at a time.
What scipy has is scipy's; Holm's correction, which it lacks, is here,
and joint sign flips are in `max_t`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from lot_cli.study.analysis.max_t import TIE, Flips, cosines

MIN_PAIRS = 5
"""With fewer pairs no verdict is given: an exact two-sided sign-flip test cannot go below 0.125
with four."""

Array = NDArray[np.float64]


class Summary(NamedTuple):
    """Mean of differences, its t interval, their standard deviation, and the effect size;
    shapes (...)."""

    mean: Array
    low: Array
    high: Array
    deviation: Array
    effect: Array


def summarize(differences: ArrayLike, confidence: float = 0.95) -> Summary:
    """Mean and Student's t interval of paired differences (..., n >= 2), with Hedges' g_z.

    The effect is mean / deviation of the differences (Cohen's d_z),
    made unbiased by Hedges' factor for n - 1 degrees of freedom (Hedges,
    "Distribution theory for Glass's estimator of effect size", 1981);
    0 where all differences are 0, infinite where they are all equal.
    """
    d = _pairs(differences)
    n = d.shape[-1]
    mean, deviation = d.mean(-1), _deviation(d)
    half = stats.t.ppf(0.5 + confidence / 2, n - 1) * deviation / np.sqrt(n)
    nu = n - 1
    factor = np.exp(special.gammaln(nu / 2) - special.gammaln((nu - 1) / 2)) / np.sqrt(nu / 2) if nu > 1 else np.nan
    with np.errstate(divide="ignore", invalid="ignore"):
        effect = np.where(mean == 0, 0.0, factor * mean / deviation)
    return Summary(mean, mean - half, mean + half, deviation, effect)


def sign_flip_test(differences: ArrayLike) -> Array:
    """Two-sided p (...) of the sign-flip permutation test of paired differences (..., n):
    exact up to `EXACT_PAIRS` pairs, over a keyed sample of flips beyond.

    Under the hypothesis that exchanging the two arms changes nothing,
    each difference is as likely to have either sign. The mean and t order flips alike,
    so this is `max_t` of one contrast alone.
    """
    d = _pairs(differences)
    flips = Flips(d.shape[-1])
    rows = d.reshape(-1, d.shape[-1])
    p = [(flips.largest(row[None]) >= abs(cosines(row[None])[0]) - TIE).mean() for row in rows]
    return np.asarray(p).reshape(d.shape[:-1])


def smallest_p(pairs: int) -> float:
    """The smallest two-sided p that `sign_flip_test` can give: all differences of one sign."""
    return 1.0 / Flips(pairs).number


def holm(p_values: ArrayLike) -> Array:
    """Adjusted p values (n,): Holm, "A simple sequentially rejective multiple test procedure",
    1979."""
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted


def equivalence_test(differences: ArrayLike, margin: float) -> Array:
    """p (...) of two one-sided t tests (TOST) that the mean of differences (..., n)
    lies within -margin .. margin.

    Schuirmann, "A comparison of the two one-sided tests procedure and the power approach", 1987.
    margin > 0, in the unit of the metric. Where all differences are equal the answer is certain:
    0 inside the margin, 1 outside.
    """
    if not margin > 0:
        raise ValueError(f"margin: expected a number > 0, got {margin}")
    d = _pairs(differences)
    n = d.shape[-1]
    mean, error = d.mean(-1), _deviation(d) / np.sqrt(n)
    distance = margin - np.abs(mean)  # of the mean from the nearer bound: the larger of the two p values
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(error > 0, distance / error, np.where(distance > 0, np.inf, -np.inf))
    return np.asarray(stats.t.sf(t, n - 1))


def mean_interval(values: ArrayLike, confidence: float = 0.95) -> tuple[Array, Array, Array]:
    """Mean, low and high (...) of the t interval of independent values (..., n);
    all three equal where n is 1."""
    v = np.asarray(values, dtype=np.float64)
    n = v.shape[-1]
    mean = v.mean(-1)
    half = stats.t.ppf(0.5 + confidence / 2, n - 1) * v.std(-1, ddof=1) / np.sqrt(n) if n > 1 else np.zeros_like(mean)
    return mean, mean - half, mean + half


def _deviation(d: Array) -> Array:
    """Standard deviation (...) of differences (..., n); exactly 0 where they are equal up to rounding."""
    return np.where(np.ptp(d, axis=-1) <= TIE * np.abs(d).max(-1), 0.0, d.std(-1, ddof=1))


def _pairs(differences: ArrayLike) -> Array:
    d = np.asarray(differences, dtype=np.float64)
    if d.ndim == 0 or d.shape[-1] < 2:
        raise ValueError(f"differences: expected at least two pairs, got shape {d.shape}")
    if not np.isfinite(d).all():
        raise ValueError("differences: expected finite numbers")
    return d
