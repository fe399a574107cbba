"""What the trained models rely on, as a table that all reports share."""

from __future__ import annotations

from lot_cli.study.report import tables
from lot_cli.study.result import Result
from lot_cli.terminal.numbers import compact, interval, signed

HEADING = "What the trained models rely on"
TITLES = ("arm", "damaged part", "numbers", "change of the loss", "95 % interval", "seeds")
NOTE = (
    "Reliance: what the loss on validation, in nats per token, rises by when a part of the trained mechanism is damaged: its "
    "state drawn at random, or parameters put back to their initial values. A network adapts to what it has, so this "
    "overstates what the part is good for. What a mechanism is worth is its contrast with the same arm trained without it "
    "(`worth` in the study file)."
)


def was_measured(result: Result) -> bool:
    """Whether the study asked for reliance."""
    return any(arm.reliance is not None for arm in result.arms.values())


def rows(result: Result) -> tables.Rows:
    """Every part of every arm, under `TITLES`; an arm that has none says so."""
    for name, arm in result.arms.items():
        if arm.reliance is not None and not arm.reliance:
            yield (name, "no part of its own was measured", "", "", "", "")
        for row in arm.reliance or []:
            size = compact(row.parameters) if row.parameters else "state"
            seeds = sum(change is not None for change in row.changes)
            spread = interval(row.mean.low, row.mean.high, signed)
            yield (name, row.what, size, signed(row.mean.mean), spread, str(seeds))
