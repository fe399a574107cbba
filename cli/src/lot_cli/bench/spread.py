"""What several processes together say of a ratio."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence


def over_processes(ratios: Sequence[float]) -> tuple[float, float, float]:
    """Geometric mean of the ratios (> 0) of two or more processes, and the ends of its 95 % interval.

    The interval is Student's of the logarithms, so a ratio and its inverse say the same.
    """
    from scipy import stats  # takes a third of a second; one process needs none of it

    logs = [math.log(ratio) for ratio in ratios]
    mean, n = statistics.fmean(logs), len(logs)
    half = float(stats.t.ppf(0.975, n - 1)) * statistics.stdev(logs) / math.sqrt(n)
    return math.exp(mean), math.exp(mean - half), math.exp(mean + half)
