"""What may be said about the arms of a study: every contrast in every metric, with a verdict.

Differences are judged by joint sign flips (`max_t`), which give p and interval by one rule.
Equivalence has its own family, two one-sided t tests under Holm's correction.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import attrs
import numpy as np

from lot_cli.study.analysis.differences import Differences, Values, differences, shape, succeeded
from lot_cli.study.analysis.max_t import EXACT_PAIRS, Joint, max_t
from lot_cli.study.analysis.statistics import (
    MIN_PAIRS,
    equivalence_test,
    holm,
    sign_flip_test,
    smallest_p,
    summarize,
)
from lot_cli.study.design.contrasts import Contrast
from lot_cli.study.result import Comparison, Reach, Verdict

Scores = Mapping[str, Mapping[str, Values]]
"""arm -> metric -> value per seed; None where the run diverged or the value is not finite."""


def judge(
    scores: Scores,
    contrasts: Sequence[Contrast],
    metrics: Mapping[str, bool],
    margins: Mapping[str, float],
    alpha: float,
    *,
    level: float | None = None,
    share: float | None = None,
    earlier: Sequence[tuple[int, float]] = (),
) -> list[Comparison]:
    """Every contrast in every metric (name -> whether higher is better).

    alpha: the error rate of the study. level: what is to be spent up to this look; default: alpha.
    share: what this look alone may spend, for equivalence; default: level.
    earlier: number of pairs, and level, of each planned look before this one.
    """
    level = alpha if level is None else level
    share = level if share is None else share
    asked = [(arm, against, metric) for arm, against in contrasts for metric in metrics]
    found = [_differences(scores, *question, metrics) for question in asked]
    described = [
        _describe(scores, *question, metrics, d, margins.get(question[2]))
        for question, d in zip(asked, found, strict=True)
    ]
    judged = _judge_jointly(scores, metrics, described, found, level, earlier)
    bounded = _correct_equivalence([c for c in judged if c.margin is not None])
    tested = {(c.arm, c.against, c.metric): c for c in bounded}
    return [_decide(tested.get((c.arm, c.against, c.metric), c), level, share) for c in judged]


def _differences(
    scores: Scores, arm: str, against: str, metric: str, metrics: Mapping[str, bool], pairs: int | None = None
) -> Differences:
    """The differences of a contrast over the first `pairs` seeds; None: all of them."""
    return differences(scores[arm][metric][:pairs], scores[against][metric][:pairs], metrics[metric])


def _describe(
    scores: Scores,
    arm: str,
    against: str,
    metric: str,
    metrics: Mapping[str, bool],
    found: Differences,
    margin: float | None,
) -> Comparison:
    """The comparison with all that no other contrast has a say in."""
    higher = metrics[metric]
    described = Comparison(
        arm=arm,
        against=against,
        metric=metric,
        higher_is_better=higher,
        pairs=len(found.finishing),
        diverged=found.lost,
        margin=margin,
    )
    if len(found.scored) < 2:
        return described
    effect = float(summarize(found.scored).effect)
    successes = succeeded(scores[arm][metric], scores[against][metric], higher)
    form = shape(found.scored, successes)
    complete = not any(found.lost)
    return attrs.evolve(
        described,
        scored=found.invented,
        mean_finishing=float(found.finishing.mean()),
        wins=found.wins(higher),
        shape=form,
        succeeded=successes if form else None,
        effect=effect if math.isfinite(effect) else None,
        p=float(sign_flip_test(found.scored)),
        p_equivalent=float(equivalence_test(found.finishing, margin)) if margin is not None and complete else None,
    )


def _judge_jointly(
    scores: Scores,
    metrics: Mapping[str, bool],
    described: list[Comparison],
    found: list[Differences],
    level: float,
    earlier: Sequence[tuple[int, float]],
) -> list[Comparison]:
    """With mean, interval and adjusted p from the joint flips of all contrasts that have a difference."""
    places = [place for place, d in enumerate(found) if len(d.scored) >= 2]
    if not places:
        return described

    def rows(pairs: int) -> np.ndarray:
        columns = []
        for c in (described[place] for place in places):
            d = _differences(scores, c.arm, c.against, c.metric, metrics, pairs)
            columns.append(d.scored if len(d.scored) else np.zeros(pairs))  # no finite pair yet: nothing was shown
        return np.stack(columns)

    seeds = len(found[places[0]].scored)
    joint = max_t(rows(seeds), level, [(rows(pairs), spent) for pairs, spent in earlier if pairs < seeds])
    filled = list(described)
    for row, place in enumerate(places):
        filled[place] = _filled(described[place], joint, row)
    return filled


def _filled(c: Comparison, joint: Joint, row: int) -> Comparison:
    low, high = (float(ends[row]) for ends in joint.interval())
    bounded = math.isfinite(low)
    return attrs.evolve(
        c,
        mean=float(joint.mean[row]),
        low=low if bounded else None,
        high=high if bounded else None,
        p_adjusted=float(joint.p[row]),
    )


def _correct_equivalence(comparisons: list[Comparison]) -> list[Comparison]:
    """With Holm's correction over all that have a margin; those without a p count as 1."""
    adjusted = holm([1.0 if c.p_equivalent is None else c.p_equivalent for c in comparisons])
    return [
        c if c.p_equivalent is None else attrs.evolve(c, p_equivalent=float(p))
        for c, p in zip(comparisons, adjusted, strict=True)
    ]


def _decide(c: Comparison, level: float, share: float) -> Comparison:
    """The verdict. Where no pair has both values there are counts only, and no verdict;
    nor is there one for pairs so few that no difference, however large, could have been shown,
    or where earlier looks leave this one nothing to spend."""
    close = c.p_equivalent is not None and c.p_equivalent <= share
    seeds = c.pairs + c.scored
    verdict: Verdict
    if c.mean is None and any(c.diverged):
        verdict = "diverged"
    elif seeds < MIN_PAIRS:
        verdict = "too few pairs"
    elif level <= 0:
        verdict, close = "alpha spent", False
    elif c.p_adjusted is not None and c.mean is not None and c.p_adjusted <= level:
        verdict = "better" if (c.mean > 0) == c.higher_is_better else "worse"
    elif close:
        verdict = "equivalent"
    elif smallest_p(seeds) > level:
        verdict = "too few pairs"
    else:
        verdict = "no difference shown"
    return attrs.evolve(c, verdict=verdict, negligible=close and verdict in ("better", "worse"))


def reachable(seeds: int, comparisons: int, level: float) -> Reach:
    """What a number of seeds allows at best: the contrast with the largest |t| can have the smallest p there is,
    over however many comparisons. level: the error rate that may be spent."""
    lowest = smallest_p(seeds)
    sufficient = (n for n in range(MIN_PAIRS, EXACT_PAIRS + 1) if smallest_p(n) <= level)
    return Reach(
        seeds=seeds,
        comparisons=comparisons,
        alpha=level,
        smallest_p=lowest,
        enough=seeds >= MIN_PAIRS and lowest <= level,
        needed=next(sufficient, None),
    )
