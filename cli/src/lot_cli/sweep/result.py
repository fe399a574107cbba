"""What a sweep found, as one typed object, which `sweep.json` holds as plain data and every report reads. Imports no torch."""

from __future__ import annotations

from typing import Any, Literal

import attrs

from lot.options.validate import unstructure

FORMAT = 1
"""Of sweep.json: a number that grows when a key goes or changes its meaning."""
State = Literal["complete", "diverged", "failed", "unfinished"]


@attrs.frozen(kw_only=True)
class RunRow:
    """One run of a configuration."""

    seed: int
    key: str  # name of its directory under runs/
    state: State
    message: str  # why, unless it is complete
    score: float | None  # the objective on validation; None where there is none, or one that is not finite


@attrs.frozen(kw_only=True)
class Row:
    """One configuration, and what its runs reached on validation."""

    values: dict[str, Any]  # dotted path of an option -> its value
    score: float | None  # mean of the objective over the seeds; None where it is not finite
    spread: float | None  # standard deviation over the seeds; None with fewer than two
    metrics: dict[str, float | None]  # every metric of the task, mean over the seeds
    parameters: int | None  # of the model
    seconds: float | None  # of training, mean over the seeds
    leak: bool  # whether it saw what it was asked to predict
    runs: list[RunRow]  # one per seed

    @property
    def lost(self) -> list[RunRow]:
        """The runs without a result."""
        return [run for run in self.runs if run.state != "complete"]

    @property
    def state(self) -> str:
        """`complete`, or what became of the first run that is not."""
        return self.lost[0].state if self.lost else "complete"


@attrs.frozen(kw_only=True)
class SweepResult:
    """A sweep, as far as it has come."""

    format: int  # FORMAT
    name: str
    command: str  # what makes it again, or goes on with it
    date: str  # ISO 8601, UTC
    objective: str  # metric of the task
    higher_is_better: bool
    split: Literal["validation"]
    sweep: dict[str, Any]  # its file
    paths: list[str]  # what is swept
    seeds: list[int]
    rows: list[Row]  # the best first; those without a score last
    best: dict[str, Any] | None  # values of the first row; None where no row has a score
    warnings: list[str]  # what a reader must know

    @property
    def best_row(self) -> Row | None:
        """The first row, where it has a score."""
        return self.rows[0] if self.rows and self.rows[0].score is not None else None

    @property
    def unfinished(self) -> int:
        """Runs that are still to be made."""
        return sum(run.state == "unfinished" for row in self.rows for run in row.runs)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return unstructure(self)
