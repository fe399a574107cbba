"""What a sweep has to make and what that costs, before anything is made: what `lot sweep --plan` prints."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import attrs
import torch

from lot.config.schema import Config
from lot.errors import BadInput, Diverged
from lot.training.steps import training_steps
from lot_cli.study.analysis.power import hours_of_runs
from lot_cli.study.execution.worker import finished_outcome
from lot_cli.sweep.file import Sweep
from lot_cli.sweep.points import Point, runs_of
from lot_cli.sweep.procedure import Place, Scored, objective_of
from lot_cli.terminal.numbers import count, duration

WARM_UP = 3
"""Steps that are not timed; forms that are compiled are compiled in them."""
SECONDS = 0.5
"""Least time for which steps of a configuration are timed."""


@attrs.frozen(kw_only=True)
class Cost:
    """A sweep before it is run."""

    configurations: int
    draws_left_out: int  # draws of a random search that equal an earlier one
    runs: int
    finished: int  # of these, in the folder
    steps: int  # training steps of all that are left
    objective: Scored
    seconds: float | None  # of all that are left, one by one; None where steps were not timed
    by: str  # what the time is taken from
    jobs: int


def cost_of(sweep: Sweep, points: Sequence[Point], place: Place) -> Cost:
    """What is left to be made. Nothing is written. Raises BadInput for a sweep that cannot be made."""
    objective = objective_of(sweep, points)
    maker = place.maker(sweep, lambda event, facts: None)
    tried = runs_of(points, sweep.seed_list, maker.numerics)
    left = [
        (point, sum(finished_outcome(maker.directory(run), run.key) is None for run in runs))
        for point, runs in zip(points, tried, strict=True)
    ]
    missing = sum(number for _, number in left)
    steps = sum(point.config.train.steps * number for point, number in left)
    seconds, by = None, ""
    if missing and (hours := hours_of_runs(place.folder)) is not None:
        seconds, by = hours * 3600 * missing, "the median of the runs in the folder"
    elif missing and place.slurm is None:
        taken = [_seconds_per_step(point.config, maker.device, sweep.threads) for point in _ends(points)]
        if known := [value for value in taken if value is not None]:
            seconds, by = steps * sum(known) / len(known), "training steps timed here, without validations"
    return Cost(
        configurations=len(points),
        draws_left_out=(sweep.count or len(points)) - len(points),
        runs=len(points) * len(sweep.seed_list),
        finished=len(points) * len(sweep.seed_list) - missing,
        steps=steps,
        objective=objective,
        seconds=seconds,
        by=by,
        jobs=place.jobs,
    )


def cost_lines(cost: Cost) -> Iterator[str]:
    """The cost in words."""
    name, higher = cost.objective
    yield f"{count(cost.configurations, 'configuration')}, chosen by the {'highest' if higher else 'lowest'} {name} on validation."
    if cost.draws_left_out:
        yield f"{count(cost.draws_left_out, 'draw')} left out, equal to an earlier one."
    yield f"The sweep has {count(cost.runs, 'run')}; its folder holds {count(cost.finished, 'finished run')} of them."
    if cost.finished < cost.runs:
        yield f"What is left makes {cost.steps:,} training steps."
    if cost.seconds is not None:
        side = f", or {duration(cost.seconds / cost.jobs)} with {cost.jobs} at a time" if cost.jobs > 1 else ""
        yield f"What is left takes about {duration(cost.seconds)} one by one{side}, by {cost.by}."


def _ends(points: Sequence[Point]) -> list[Point]:
    """The first and the last configuration, between which costs mostly lie."""
    return [points[0], *([points[-1]] if len(points) > 1 else [])]


def _seconds_per_step(config: Config, device: str, threads: int) -> float | None:
    """The time of a training step after the first ones, or None for a configuration that cannot be trained."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with training_steps(config, device) as steps:
            steps.make(WARM_UP)
            made, began = 0, time.perf_counter()
            while (taken := time.perf_counter() - began) < SECONDS:
                steps.make(1)
                made += 1
            return taken / made
    except (BadInput, Diverged):
        return None
    finally:
        torch.set_num_threads(before)
