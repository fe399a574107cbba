"""What speaks against a sweep's best configuration: how it was chosen, and how far was looked. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lot.errors import BadInput
from lot_cli.study.design.grids import edge_of, next_value
from lot_cli.study.design.plan import configure
from lot_cli.sweep.file import Sweep, Values, shown_value
from lot_cli.sweep.result import Row
from lot_cli.sweep.values import listed
from lot_cli.terminal.numbers import count, number


def cautions(sweep: Sweep, rows: Sequence[Row], objective: str) -> list[str]:
    """Lines for a reader, the most important ones first. rows: the best first."""
    if not rows or rows[0].score is None:
        return list(_lost(rows))
    seeds = ", ".join(map(str, sweep.seed_list))
    found = [
        f"the best of {count(len(rows), 'configuration')} on the validation split that chose it is optimistic; "
        f"measure it on test once, and compare mechanisms with lot study, on other seeds than {seeds}"
    ]
    found += [*_lead(rows, objective), *_edges(sweep, rows[0]), *_what_differs(sweep)]
    if rows[0].leak:
        found.append("LEAK: the best configuration saw what it was asked to predict (allow_leak)")
    return [*found, *_lost(rows)]


def _lead(rows: Sequence[Row], objective: str) -> Iterator[str]:
    """How far the best is ahead, beside what seeds make of it."""
    best, others = rows[0], [row for row in rows[1:] if row.score is not None]
    if tied := sum(row.score == best.score for row in others):
        yield f"{count(tied, 'other configuration')} reached the same {objective}; the loss decided which comes first"
    if len(best.runs) < 2:
        yield "one seed per configuration: nothing says how much of a lead is luck; more seeds (--seeds 3) would"
    elif others and best.spread is not None:
        assert best.score is not None
        assert others[0].score is not None
        lead, spreads = abs(best.score - others[0].score), [row.spread or 0.0 for row in (best, others[0])]
        if lead <= max(spreads):
            yield (
                f"the best is ahead of the second by {number(lead)} in {objective}, and seeds of one configuration differ by "
                f"{number(max(spreads))} (standard deviation): the two are not told apart"
            )


def _edges(sweep: Sweep, best: Row) -> Iterator[str]:
    """Grids of numbers at whose edge the best value lies."""
    for path in sweep.grid:
        tried = listed(sweep.grid[path], f"grid.{path}")
        edge = edge_of(best.values[path], tried)
        beyond = None if edge is None else next_value(tried, edge)
        if edge is not None and (beyond is None or _can_be(sweep, {**best.values, path: beyond})):
            further = "" if beyond is None else f", such as {beyond:g}"
            yield f"{path}: the best value, {shown_value(best.values[path])}, is the {edge} that was tried; try beyond it{further}"


def _can_be(sweep: Sweep, values: Values) -> bool:
    """Whether a run can have these values: where it cannot, the edge of a grid is that of the option."""
    try:
        configure(sweep.base, sweep.seed_list[0], values, test=False)
    except BadInput:
        return False
    return True


def _what_differs(sweep: Sweep) -> Iterator[str]:
    """Options by which scores are of different things."""
    for path in sweep.paths:
        if path.startswith("task."):
            yield f"{path} changes the data: scores of different values are of different questions"
        elif path.endswith(".name") and path.startswith("attn."):
            yield f"{path} compares mechanisms, here without matched parameters or a test: that is the job of lot study"


def _lost(rows: Sequence[Row]) -> Iterator[str]:
    """Runs that are no results."""
    lost = [run for row in rows for run in row.lost]
    diverged = sum(run.state == "diverged" for run in lost)
    failed = [run for run in lost if run.state == "failed"]
    if diverged:
        yield f"{count(diverged, 'run')} diverged; a configuration with such a run comes after all others"
    if failed:
        again = "it" if len(failed) == 1 else "them"
        yield f"{count(len(failed), 'run')} failed ({failed[0].message}); the same command tries {again} again"
    if unfinished := sum(run.state == "unfinished" for run in lost):
        yield f"{count(unfinished, 'run')} still to be made; the same command goes on"
