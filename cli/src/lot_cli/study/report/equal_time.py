"""The comparison at equal time beside that at equal steps: measured where it was run, and else what it would cost to run it.

A value at equal time is never read off the curve of a longer or shorter run: its learning rate had not come to its end there.
"""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from lot_cli.study.design.matching import sibling_of, steps_for
from lot_cli.study.report import wording
from lot_cli.study.result import Comparison, Result
from lot_cli.terminal.numbers import count, duration, signed

TITLES = ("arm", "metric", "at equal steps", "at equal time")
HEADING = "At equal steps and at equal time"


@attrs.frozen(kw_only=True)
class Price:
    """What the comparison of two arms at equal time would take: the second arm again, for as long as the first one takes."""

    arm: str
    against: str
    ratio: float  # time of a step of the first divided by that of the second, from the logs of the runs
    steps: int  # training steps of the second
    seconds: float  # of all its runs, one after the other: every seed, and tuning


def at_equal_time(result: Result, c: Comparison) -> Comparison | None:
    """The comparison of the same two arms at equal time; None where it was not run."""
    name = sibling_of((c.arm, c.against))
    found = (o for o in result.comparisons if (o.arm, o.against, o.metric, o.budget) == (c.arm, name, c.metric, "time"))
    return next(found, None)


def price(result: Result, c: Comparison) -> Price | None:
    """What equal time would cost; None where the logs of the runs hold no times."""
    first, second = (result.arms[name] for name in (c.arm, c.against))
    ours, theirs = first.cost.seconds_per_step, second.cost.seconds_per_step
    if not ours or not theirs:
        return None
    made = first.config.get("train", {}).get("steps", result.fairness.budget.steps)
    steps = steps_for(made, theirs / ours)
    runs = len(result.seeds) + result.fairness.budget.tuning_runs
    return Price(arm=c.arm, against=c.against, ratio=ours / theirs, steps=steps, seconds=steps * theirs * runs)


def rows(result: Result) -> Iterator[tuple[str, ...]]:
    """Under `TITLES`: every comparison at equal steps, and beside it the one at equal time or its price."""
    for c in _at_equal_steps(result):
        timed = at_equal_time(result, c)
        yield (
            wording.pair_of(c),
            c.metric,
            _cell(c),
            _cell(timed) if timed is not None else _not_run(price(result, c), result),
        )


def lines(result: Result) -> Iterator[str]:
    """What stands below the table, or in its place where all arms had equal time or equal FLOPs."""
    budgets = {c.budget for c in result.comparisons}
    if "steps" not in budgets and budgets:
        alike = "time" if budgets == {"time"} else "FLOPs"
        yield f"Every arm had equal {alike}; the steps that follow stand under Fairness. Nothing was run at equal steps."
    if missing := _missing(result):
        total = missing_seconds(result)
        said = "a time that no log tells" if total is None else f"about {duration(total)} one by one"
        yield (
            f"At equal time {count(len(missing), 'contrast')} {'was' if len(missing) == 1 else 'were'} not run; that would "
            f"take {said} (equal_time: true in the study file)."
        )
        if total is not None:
            yield "The price is that of the second arm's runs, tuning included, by the times per step in the logs of this study."
    yield "Nothing is read off the curve of a run of another length, whose learning rate had not come to its end there."


def line(result: Result) -> str:
    """The most important of the lines; empty where nothing is missing."""
    return next((text for text in lines(result) if "were not run" in text or "was not run" in text), "")


def missing_seconds(result: Result) -> float | None:
    """What the contrasts that were not run at equal time would take, one run after the other; None where no log tells."""
    known = [each.seconds for each in _missing(result) if each is not None]
    return sum(known) if known else None


def _at_equal_steps(result: Result) -> list[Comparison]:
    return [c for c in result.comparisons if c.budget == "steps"]


def _missing(result: Result) -> list[Price | None]:
    return [
        price(result, c)
        for c in _at_equal_steps(result)
        if c.metric == result.main_metric and at_equal_time(result, c) is None
    ]


def _cell(c: Comparison) -> str:
    return (
        f"{signed(c.mean)} {wording.interval_of(c)} {wording.verdict(c)}" if c.mean is not None else wording.verdict(c)
    )


def _not_run(cost: Price | None, result: Result) -> str:
    if cost is None:
        return "not run; no times were logged"
    return (
        f"not run: {cost.steps:,} steps of {cost.against}, a step of {cost.arm} takes {cost.ratio:.3g} times that "
        f"of {cost.against}; {duration(cost.seconds)} for {count(len(result.seeds), 'seed')}"
    )
