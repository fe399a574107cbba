"""Choosing among values by what their runs reached on validation: those of an arm, and those of a sweep. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from lot.errors import BadInput
from lot.storage.files import read_json
from lot_cli.study.design.plan import Run
from lot_cli.study.execution.worker import Outcome
from lot_cli.study.result import Trial, Tuning

Attempt = tuple[dict[str, Any], list[Run]]
"""Values by path, and the runs (one per tuning seed) that tried them."""


def choose(
    attempts: Sequence[Attempt], outcomes: Mapping[str, Outcome], runs: Path, metric: str, higher: bool
) -> Tuning:
    """The values with the best mean of `metric` on validation, and every trial.

    runs: the folder that holds the directories of the runs. higher: whether higher is better.
    Trials with equal means are told apart by the loss, as training tells checkpoints apart;
    then the first is taken. A trial with a run that diverged comes after all others.
    Raises BadInput where a run was evaluated on anything but the validation split.
    """
    trials = [trial_of(attempt, outcomes, runs, metric) for attempt in attempts]
    best = max(range(len(trials)), key=lambda place: quality(trials[place], higher))
    trials[best] = attrs.evolve(trials[best], chosen=True)
    return Tuning(values=trials[best].values, trials=trials)


def quality(trial: Trial, higher: bool) -> tuple[float, ...]:
    """What trials are ordered by, the larger the better: as `choose` says. higher: whether a higher score is better."""
    if trial.score is None or trial.loss is None:
        return (-trial.diverged, -math.inf, -math.inf)
    return (-trial.diverged, trial.score if higher else -trial.score, -trial.loss)


def trial_of(attempt: Attempt, outcomes: Mapping[str, Outcome], runs: Path, metric: str) -> Trial:
    """What an attempt reached, not yet chosen. Raises BadInput as `choose` does."""
    values, tried = attempt
    documents = [validated(runs / run.key) for run in tried if outcomes[run.key].state == "complete"]
    return Trial(
        values=values,
        score=_mean(documents, metric),
        loss=_mean(documents, "loss"),
        diverged=len(tried) - len(documents),
        runs=[run.key for run in tried],
        chosen=False,
    )


def validated(run_dir: Path) -> dict[str, float | None]:
    """The metrics of a finished run, on validation. Raises BadInput where they are of another split."""
    document = read_json(run_dir / "metrics.json")
    if document["split"] != "validation":
        raise BadInput(
            f"{run_dir} was evaluated on the {document['split']} split; tuning reads validation only",
            fix="remove that directory and give the same command again",
        )
    metrics: dict[str, float | None] = document["metrics"]
    return metrics


def _mean(documents: list[dict[str, float | None]], metric: str) -> float | None:
    """The mean over runs; None where there is no run, or one whose value is not finite."""
    values = [document[metric] for document in documents]
    finite = [value for value in values if value is not None]
    return sum(finite) / len(finite) if finite and len(finite) == len(values) else None
