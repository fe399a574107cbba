"""What may be said about the arms of a study: every arm against the reference, in every metric,
with a verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import numpy as np

from lot_cli.study.analysis.max_t import EXACT_PAIRS
from lot_cli.study.analysis.statistics import (
    MIN_PAIRS,
    equivalence_test,
    holm,
    sign_flip_test,
    smallest_p,
    summarize,
)
from lot_cli.study.result import Comparison, Reach, Verdict

Scores = Mapping[str, Mapping[str, Sequence[float | None]]]
"""arm -> metric -> value per seed; None where the run diverged or the value is not finite."""


def judge(
    scores: Scores, reference: str, metrics: Mapping[str, bool], margins: Mapping[str, float], alpha: float
) -> list[Comparison]:
    """Every arm but the reference, in every metric (name -> whether higher is better),
    the arms in the order of `scores`."""
    raw = [
        _compare(arm, metric, higher, scores[arm][metric], scores[reference][metric], margins.get(metric))
        for arm in scores
        if arm != reference
        for metric, higher in metrics.items()
    ]
    corrected = _correct(raw, "p", "p_holm")
    bounded = [c for c in corrected if c.margin is not None]
    tested = {(c.arm, c.metric): c for c in _correct(bounded, "p_equivalent", "p_equivalent")}
    return [_decide(tested.get((c.arm, c.metric), c), alpha, len(raw)) for c in corrected]


def _compare(
    arm: str,
    metric: str,
    higher: bool,
    ours: Sequence[float | None],
    theirs: Sequence[float | None],
    margin: float | None,
) -> Comparison:
    differences = np.array([a - b for a, b in zip(ours, theirs, strict=True) if a is not None and b is not None])
    found = Comparison(
        arm=arm,
        metric=metric,
        higher_is_better=higher,
        pairs=len(differences),
        diverged=(sum(a is None for a in ours), sum(b is None for b in theirs)),
        margin=margin,
    )
    if len(differences) < 2:
        return found
    summary = summarize(differences)
    return attrs.evolve(
        found,
        mean=float(summary.mean),
        low=float(summary.low),
        high=float(summary.high),
        effect=float(summary.effect) if math.isfinite(summary.effect) else None,
        p=float(sign_flip_test(differences)),
        p_equivalent=None if margin is None else float(equivalence_test(differences, margin)),
    )


def _correct(comparisons: list[Comparison], source: str, target: str) -> list[Comparison]:
    """With `target` filled by Holm's correction of `source` over all of `comparisons`,
    those without a p counted as 1."""
    adjusted = holm([1.0 if getattr(c, source) is None else getattr(c, source) for c in comparisons])

    def filled(comparison: Comparison, p: float) -> Comparison:
        changes: dict[str, Any] = {target: p}
        return comparison if getattr(comparison, source) is None else attrs.evolve(comparison, **changes)

    return [filled(comparison, float(p)) for comparison, p in zip(comparisons, adjusted, strict=True)]


def _decide(c: Comparison, alpha: float, comparisons: int) -> Comparison:
    """The verdict. A diverged run is a result that no mean holds, so it leaves none;
    nor do pairs so few that no difference, however large, could have been shown over that many
    comparisons."""
    close = c.p_equivalent is not None and c.p_equivalent <= alpha
    verdict: Verdict
    if any(c.diverged):
        verdict = "diverged"
    elif c.pairs < MIN_PAIRS:
        verdict = "too few pairs"
    elif c.p_holm is not None and c.mean is not None and c.p_holm <= alpha:
        verdict = "better" if (c.mean > 0) == c.higher_is_better else "worse"
    elif close:
        verdict = "equivalent"
    elif not reachable(c.pairs, comparisons, alpha).enough:
        verdict = "too few pairs"
    else:
        verdict = "no difference shown"
    return attrs.evolve(c, verdict=verdict, negligible=close and verdict in ("better", "worse"))


def reachable(seeds: int, comparisons: int, alpha: float) -> Reach:
    """What a number of seeds allows at best, over a number of comparisons at the error rate
    `alpha`."""
    lowest = smallest_p(seeds)
    corrected = min(1.0, lowest * comparisons)
    sufficient = (n for n in range(MIN_PAIRS, EXACT_PAIRS + 1) if smallest_p(n) * comparisons <= alpha)
    return Reach(
        seeds=seeds,
        comparisons=comparisons,
        alpha=alpha,
        smallest_p=lowest,
        smallest_p_holm=corrected,
        enough=seeds >= MIN_PAIRS and corrected <= alpha,
        needed=next(sufficient, None),
    )
