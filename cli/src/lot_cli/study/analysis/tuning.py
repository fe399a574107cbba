"""Choosing the tuned values of an arm: on validation, with seeds of their own. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lot.errors import BadInput
from lot.storage.files import read_json
from lot_cli.study.design.plan import Run
from lot_cli.study.execution.worker import Outcome

Trial = tuple[dict[str, Any], list[Run]]
"""Values by path, and the runs (one for each tuning seed) that tried them."""


def choose(
    trials: Sequence[Trial], outcomes: Mapping[str, Outcome], runs: Path, metric: str, higher: bool
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The values with the best mean of `metric` on validation, and a row for each trial.

    Equal means are told apart by the loss, as the engine tells checkpoints apart; then the first is taken. A trial of which a
    run diverged comes after all others. Raises BadInput where a run was
    evaluated on anything but the validation split.
    """
    rows: list[dict[str, Any]] = []
    for values, tried in trials:
        documents = [_validated(runs / run.key) for run in tried if outcomes[run.key].state == "complete"]
        rows.append(
            {
                "values": values,
                "score": _mean(documents, metric),
                "loss": _mean(documents, "loss"),
                "diverged": len(tried) - len(documents),
                "runs": [run.key for run in tried],
            }
        )
    sign = 1.0 if higher else -1.0

    def quality(row: dict[str, Any]) -> tuple[float, ...]:
        if row["score"] is None or row["loss"] is None:
            return (-row["diverged"], -math.inf, -math.inf)
        return (-row["diverged"], sign * row["score"], -row["loss"])

    best = max(rows, key=quality)
    for row in rows:
        row["chosen"] = row is best
    return best["values"], rows


def _validated(run_dir: Path) -> dict[str, float | None]:
    document = read_json(run_dir / "metrics.json")
    if document["split"] != "validation":
        raise BadInput(
            f"{run_dir} was evaluated on the {document['split']} split; tuning reads validation only",
            fix="remove that directory and run the study again",
        )
    metrics: dict[str, float | None] = document["metrics"]
    return metrics


def _mean(documents: list[dict[str, float | None]], metric: str) -> float | None:
    """The mean over runs; None where there is none, or one that is not finite."""
    values = [document[metric] for document in documents]
    finite = [value for value in values if value is not None]
    return sum(finite) / len(finite) if finite and len(finite) == len(values) else None
