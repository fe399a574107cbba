"""What a study can show before it is run: the standardized effect that its seeds find with 80 % power at each look.

Simulated: every arm has independent normal noise of standard deviation 1 / sqrt(2), so that a difference has standard
deviation 1, arms that two contrasts share make them correlated, and metrics are independent (which is the worst case).
One contrast has an effect, the others none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import attrs
import numpy as np
from numpy.typing import NDArray

from lot.runs.directory import RunDir
from lot_cli.study.analysis.max_t import EXACT_PAIRS
from lot_cli.study.analysis.statistics import smallest_p
from lot_cli.study.design.contrasts import Contrast

STUDIES = 400
"""Simulated studies per number of pairs: the power is known to 2 %, one standard error."""
FLIPS, MOST_FLIPS = 2**11, 2**14
"""Flips per simulated study, all of them where there are fewer; more for a level that so few could not tell,
up to what 50 MB hold."""
POWER = 0.8
LARGEST = 20.0
"""Effects beyond are not looked for, in standard deviations of the differences."""

Array = NDArray[np.float64]


@attrs.frozen(kw_only=True)
class Reached:
    """What one look can show of one contrast."""

    arm: str  # name of the arm
    against: str  # name of the arm that it is compared with
    pairs: int  # of this look
    level: float  # error rate that may be spent up to this look
    smallest_p: float  # that the test can give
    effect: float | None  # shown with 80 % power, in standard deviations of the differences; None: none is


def plan_looks(contrasts: Sequence[Contrast], metrics: int, looks: Sequence[tuple[int, float]]) -> list[Reached]:
    """What each look (pairs, level) can show of each contrast, judged over all contrasts and metrics.

    Each look is taken by itself: what earlier looks spent is left out, which a study loses little by.
    """
    return [
        Reached(
            arm=contrast[0],
            against=contrast[1],
            pairs=pairs,
            level=level,
            smallest_p=smallest_p(pairs),
            effect=detectable_effect(contrasts, place, metrics, pairs, level),
        )
        for pairs, level in looks
        for place, contrast in enumerate(contrasts)
    ]


def detectable_effect(
    contrasts: Sequence[Contrast], place: int, metrics: int, pairs: int, level: float
) -> float | None:
    """The standardized effect of contrast `place` that is shown in 80 % of studies; None where none up to 20 is."""
    if pairs < 2 or smallest_p(pairs) > level:
        return None
    rng = np.random.Generator(np.random.Philox(key=[pairs, len(contrasts) * metrics]))
    noise = _noise(rng, contrasts, metrics, pairs)  # (S, C, n)
    signs = _signs(rng, pairs, level)  # (F, n)
    row = place * metrics
    largest = np.zeros((STUDIES, len(signs)))
    for other in range(noise.shape[1]):
        if other != row:
            np.maximum(largest, _cosines(noise[:, other], signs), out=largest)
    own = noise[:, row]  # (S, n)
    low, high = 0.0, LARGEST
    if _power(own + high, signs, largest, level) < POWER:
        return None
    while high - low > 0.01:
        middle = (low + high) / 2
        if _power(own + middle, signs, largest, level) < POWER:
            low = middle
        else:
            high = middle
    return high


def finished_runs(folder: Path) -> int:
    """The number of runs in the folder of a study that ended with their metrics."""
    return sum(1 for _ in (folder / "runs").glob("*/metrics.json"))


def hours_of_runs(folder: Path) -> float | None:
    """Median hours of the runs that the folder of a study holds, from their timing logs; None without any."""
    logs = (RunDir(path).rows("timing.jsonl") for path in sorted((folder / "runs").glob("*")) if path.is_dir())
    seconds = [sum(row["seconds"] for row in rows) for rows in logs if rows]
    return float(np.median(seconds)) / 3600 if seconds else None


def _noise(rng: np.random.Generator, contrasts: Sequence[Contrast], metrics: int, pairs: int) -> Array:
    """Differences (S, C, n) without an effect, the metrics of one contrast side by side."""
    arms = sorted({arm for contrast in contrasts for arm in contrast})
    values = rng.normal(scale=math.sqrt(0.5), size=(len(arms), STUDIES, metrics, pairs))
    rows = [values[arms.index(arm)] - values[arms.index(against)] for arm, against in contrasts]  # (S, M, n) each
    return np.concatenate(rows, axis=1)


def _signs(rng: np.random.Generator, pairs: int, level: float) -> Array:
    """Flips (F, n), the first of which changes nothing; each once where they are few."""
    wanted = min(MOST_FLIPS, max(FLIPS, math.ceil(100 / level)))
    if pairs <= min(EXACT_PAIRS, math.log2(wanted) + 1):
        bits = (np.arange(2 ** (pairs - 1))[:, None] >> np.arange(pairs)[None, :]) & 1
        return np.asarray(1.0 - 2.0 * bits, dtype=np.float64)
    signs: Array = np.asarray(1.0 - 2.0 * rng.integers(0, 2, size=(wanted, pairs)), dtype=np.float64)
    signs[0] = 1.0
    return signs


def _cosines(d: Array, signs: Array) -> Array:
    """|cosine| (S, F) of differences (S, n) under flips (F, n)."""
    length = np.sqrt((d**2).sum(-1, keepdims=True) * d.shape[-1])
    return np.abs((d / length) @ signs.T)


def _power(own: Array, signs: Array, others: Array, level: float) -> float:
    """The share of studies in which p of the contrast with differences `own` (S, n) is at most `level`.

    others: the largest |cosine| (S, F) of the other contrasts.
    """
    cosines = _cosines(own, signs)
    p = (np.maximum(cosines, others) >= cosines[:, :1] - 1e-12).mean(1)
    return float((p <= level).mean())
