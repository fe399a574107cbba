"""From the runs of a study to what may be said about its arms."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import attrs
import numpy as np

from lot.runs.directory import RunDir
from lot.storage.files import read_json
from lot_cli.study.analysis.statistics import (
    EXACT_PAIRS,
    MIN_PAIRS,
    equivalence_test,
    holm,
    mean_interval,
    sign_flip_test,
    smallest_p,
    summarize,
)

Verdict = Literal["better", "worse", "equivalent", "no difference shown", "too few pairs", "diverged"]
Scores = Mapping[str, Mapping[str, Sequence[float | None]]]
"""arm -> metric -> value for each seed; None where the run diverged or the value is not finite."""


@attrs.frozen(kw_only=True)
class Comparison:
    """An arm against the reference in one metric; differences are arm - reference, over the pairs of which both values are there.

    p: exact sign-flip test; p_holm: corrected over all comparisons of the study. effect: Hedges' g_z. margin, p_equivalent
    (TOST, Holm-corrected over all equivalence tests): None where the study states no margin. diverged: runs of the
    arm and of the reference that gave no finite value. The statistics are None where fewer than two pairs are left; such a
    comparison still counts in the corrections, which are over what was planned.
    """

    arm: str
    metric: str
    higher_is_better: bool
    pairs: int
    diverged: tuple[int, int]
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    effect: float | None = None
    p: float | None = None
    p_holm: float | None = None
    margin: float | None = None
    p_equivalent: float | None = None
    verdict: Verdict = "no difference shown"
    negligible: bool = False  # a difference that is shown, and shown to lie within the margin


def judge(
    scores: Scores, reference: str, metrics: Mapping[str, bool], margins: Mapping[str, float], alpha: float
) -> list[Comparison]:
    """Every arm but the reference, in every metric (name -> whether higher is better), the arms in the order of `scores`."""
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
    """With `target` filled by Holm's correction of `source` over all of `comparisons`, those without a p counted as 1."""
    adjusted = holm([1.0 if getattr(c, source) is None else getattr(c, source) for c in comparisons])

    def filled(comparison: Comparison, p: float) -> Comparison:
        changes: dict[str, Any] = {target: p}
        return comparison if getattr(comparison, source) is None else attrs.evolve(comparison, **changes)

    return [filled(comparison, float(p)) for comparison, p in zip(comparisons, adjusted, strict=True)]


def _decide(c: Comparison, alpha: float, comparisons: int) -> Comparison:
    """The verdict. A diverged run is a result that no mean holds, so it leaves none; nor do pairs so few that no
    difference, however large, could have been shown over that many comparisons."""
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
    elif not reachable(c.pairs, comparisons, alpha)["enough"]:
        verdict = "too few pairs"
    else:
        verdict = "no difference shown"
    return attrs.evolve(c, verdict=verdict, negligible=close and verdict in ("better", "worse"))


def reachable(seeds: int, comparisons: int, alpha: float) -> dict[str, Any]:
    """What the number of seeds allows at best: the smallest p, the same after Holm's correction, whether that suffices, and
    how many seeds would (`needed`; None where no number does)."""
    lowest = smallest_p(seeds)
    corrected = min(1.0, lowest * comparisons)
    sufficient = (n for n in range(MIN_PAIRS, EXACT_PAIRS + 1) if smallest_p(n) * comparisons <= alpha)
    return {
        "seeds": seeds,
        "comparisons": comparisons,
        "alpha": alpha,
        "smallest_p": lowest,
        "smallest_p_holm": corrected,
        "enough": seeds >= MIN_PAIRS and corrected <= alpha,
        "needed": next(sufficient, None),
    }


def read_scores(run_dir: Path, metrics: Mapping[str, bool]) -> dict[str, float | None]:
    """The test metrics of a run; None for each of them where the run diverged."""
    document = read_json(run_dir / "metrics.json")
    if document is None:
        return dict.fromkeys(metrics)
    assert document["split"] == "test", f"{run_dir} was not tested"
    return {metric: document["metrics"][metric] for metric in metrics}


def curve(run_dirs: Sequence[Path], metric: str) -> dict[str, list[float]]:
    """Validation over training: at each step that two or more runs evaluated, the mean over them and its 95 % t interval."""
    values: dict[int, list[float]] = {}
    for run_dir in run_dirs:
        for row in RunDir(run_dir).rows():
            if row.get("split") == "validation" and row.get(metric) is not None:
                values.setdefault(row["step"], []).append(row[metric])
    points = [(step, *mean_interval(found)) for step, found in sorted(values.items()) if len(found) > 1]
    columns = zip(*points, strict=True) if points else ([], [], [], [])
    return {
        name: [float(x) for x in column] for name, column in zip(("steps", "mean", "low", "high"), columns, strict=True)
    }


def describe(values: Sequence[float | None]) -> dict[str, Any]:
    """Mean of an arm over the seeds that gave a value (None where none did), its 95 % t interval (None where only one
    did), and how many were left out."""
    finite = [value for value in values if value is not None]
    lost = len(values) - len(finite)
    if len(finite) < 2:
        return {"mean": finite[0] if finite else None, "low": None, "high": None, "lost": lost}
    mean, low, high = map(float, mean_interval(finite))
    return {"mean": mean, "low": low, "high": high, "lost": lost}
