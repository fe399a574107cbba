"""What `lot study FILE --plan` prints: what each look can show, and what the study costs."""

from __future__ import annotations

from collections.abc import Iterator

import attrs
from rich.box import SIMPLE_HEAD
from rich.table import Table

from lot_cli.study.analysis.power import STUDIES, Reached
from lot_cli.study.design.matching import Budget
from lot_cli.terminal.console import console
from lot_cli.terminal.numbers import DASH, count, duration, number, p_value


@attrs.frozen(kw_only=True)
class Plan:
    """A study before it is run."""

    looks: list[Reached]  # look by look, contrast by contrast; empty where the record of looks is gone or broken
    comparisons: int  # that are judged together
    report_runs: int  # runs that are reported, of all arms and seeds
    tuning_runs: int  # runs that only tuning sees
    most_tuning_runs: int  # the same where every grid is extended as far as it may be
    finished: int  # runs that the folder holds
    hours_per_run: float | None  # median of earlier runs in the folder; None without any
    steps: dict[str, int | None]  # arm -> steps that match time or FLOPs, or make time equal; None: still to be timed
    budget: Budget  # what every arm spends alike
    equal_time: bool  # whether the study compares at equal time too
    equal_time_seconds: float | None  # what that would take, by the result in the folder; None without one


def show_plan(plan: Plan) -> None:
    """Print the plan on stdout."""
    where = console(stderr=False)
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)
    for title in ("contrast", "pairs", "level", "smallest p", "effect at 80 % power"):
        table.add_column(title, justify="left" if title == "contrast" else "right")
    for reached in plan.looks:
        table.add_row(
            f"{reached.arm} − {reached.against}",
            str(reached.pairs),
            f"{reached.level:.3g}",
            p_value(reached.smallest_p),
            DASH if reached.effect is None else f"{reached.effect:.2f}",
        )
    where.print(table)
    for line in plan_lines(plan):
        where.print(line, soft_wrap=True, highlight=False)


def plan_lines(plan: Plan) -> Iterator[str]:
    """What stands below the table."""
    yield (
        f"Effects are in standard deviations of the differences, for normal noise, over {count(plan.comparisons, 'comparison')} "
        f"judged together ({STUDIES} simulated studies)."
    )
    if not plan.looks:
        yield "Looks unknown: the record of earlier looks is gone or broken, so this study can show nothing."
    elif all(reached.effect is None for reached in plan.looks):
        yield "No look can show a difference: no p that these pairs can give is as small as the level."
    runs = plan.report_runs + plan.tuning_runs
    tuning = f", {plan.tuning_runs} of them for tuning" if plan.tuning_runs else ""
    yield f"The study has {count(runs, 'run')}{tuning}; its folder holds {count(plan.finished, 'finished run')}."
    if plan.most_tuning_runs > plan.tuning_runs:
        yield (
            f"Grids whose best value lies at their edge are extended: at most {count(plan.most_tuning_runs, 'tuning run')}, "
            f"which makes {plan.report_runs + plan.most_tuning_runs} in all."
        )
    if plan.hours_per_run is not None:
        left = max(0, runs - plan.finished) * plan.hours_per_run
        yield f"What is left takes about {number(left)} h one by one, by the median of the runs in the folder."
    for arm, steps in plan.steps.items():
        yield f"{arm}: {'steps are timed when the study starts' if steps is None else f'{steps:,} steps'}"
    yield from _equal_time(plan)


def _equal_time(plan: Plan) -> Iterator[str]:
    if plan.equal_time or plan.budget == "time":
        return
    if plan.equal_time_seconds is None:
        price = "its price is known when a result is in the folder"
    else:
        price = (
            f"it would take about {duration(plan.equal_time_seconds)} more one by one, for the seeds of the last result"
        )
    yield f"Nothing is compared at equal time (equal_time: true); {price}."
