"""The table of a sweep: the columns that every report shows, and all digits for programs. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lot_cli.study.report.export import Sheet
from lot_cli.sweep.file import short_names, shown_value
from lot_cli.sweep.result import Row, SweepResult
from lot_cli.terminal.numbers import DASH, count, number, seconds


def titles(result: SweepResult, *, every_metric: bool = False) -> list[str]:
    """Titles of `cells`."""
    names = short_names(result.paths)
    return [
        "",
        *(names[path] for path in result.paths),
        result.objective,
        *(["± over seeds"] if len(result.seeds) > 1 else []),
        *_others(result, every_metric),
        *(["parameters"] if _sizes_differ(result) else []),
        "time",
        "",
    ]


def cells(result: SweepResult, *, every_metric: bool = False) -> Iterator[list[str]]:
    """A row of text for each configuration, the best first: its place, values, what it reached, cost, and what went wrong."""
    for place, row in enumerate(result.rows, start=1):
        yield [
            str(place) if row.score is not None else DASH,
            *(shown_value(row.values[path]) for path in result.paths),
            number(row.score),
            *([number(row.spread)] if len(result.seeds) > 1 else []),
            *(number(row.metrics.get(metric)) for metric in _others(result, every_metric)),
            *([number(row.parameters)] if _sizes_differ(result) else []),
            seconds(row.seconds),
            remark(row),
        ]


def remark(row: Row) -> str:
    """What is to be known of a configuration: a leak, runs without a result."""
    leak = ["LEAK"] if row.leak else []
    if not row.lost:
        return ", ".join(leak)
    states = [run.state for run in row.lost]
    lost = [
        state if len(row.runs) == 1 else f"{states.count(state)} of {count(len(row.runs), 'run')} {state}"
        for state in dict.fromkeys(states)
    ]
    return ", ".join([*leak, *lost])


def sheet(result: SweepResult) -> Sheet:
    """The table as plain values, which lose no digit."""
    metrics = list(dict.fromkeys(metric for row in result.rows for metric in row.metrics))
    head = [
        "place",
        *result.paths,
        f"objective_{result.objective}",
        "standard_deviation",
        *metrics,
        "parameters",
        "seconds",
        "leak",
        "state",
        *(f"seed_{seed}" for seed in result.seeds),
        *(f"run_{seed}" for seed in result.seeds),
    ]
    return Sheet(
        "sweep", head, [_values(result, place, row, metrics) for place, row in enumerate(result.rows, start=1)]
    )


def heading(result: SweepResult) -> str:
    """What the table is: `exact_match on validation (higher is better), 12 configurations x 2 seeds`."""
    better = "higher" if result.higher_is_better else "lower"
    seeds = f" x {count(len(result.seeds), 'seed')}" if len(result.seeds) > 1 else ""
    return f"{result.objective} on validation ({better} is better), {count(len(result.rows), 'configuration')}{seeds}"


def best_line(result: SweepResult) -> str | None:
    """The best configuration in one line; None where none has a score."""
    if (row := result.best_row) is None:
        return None
    values = ", ".join(f"{path} = {shown_value(value)}" for path, value in row.values.items())
    spread = "" if row.spread is None else f" ± {number(row.spread)} over seeds"
    return f"best: {values} ({result.objective} {number(row.score)}{spread})"


def _values(result: SweepResult, place: int, row: Row, metrics: list[str]) -> list[Any]:
    return [
        place,
        *(shown_value(row.values[path]) for path in result.paths),
        row.score,
        row.spread,
        *(row.metrics.get(metric) for metric in metrics),
        row.parameters,
        row.seconds,
        row.leak,
        row.state,
        *(run.score for run in row.runs),
        *(run.key for run in row.runs),
    ]


def _others(result: SweepResult, every: bool) -> list[str]:
    """Metrics beside the objective: all of them, or the loss."""
    metrics = dict.fromkeys(metric for row in result.rows for metric in row.metrics)
    return [metric for metric in metrics if metric != result.objective and (every or metric == "loss")]


def _sizes_differ(result: SweepResult) -> bool:
    return len({row.parameters for row in result.rows if row.parameters is not None}) > 1
