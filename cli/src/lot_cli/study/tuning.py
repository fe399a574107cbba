"""Choosing the tuned values of an arm: on validation, with seeds of their own. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lot.errors import BadInput
from lot.files import read_json
from lot_cli.study.plan import Run
from lot_cli.study.worker import Outcome

Trial = tuple[dict[str, Any], list[Run]]
"""Values by path, and the runs (one for each tuning seed) that tried them."""


def choose(
    trials: Sequence[Trial], outcomes: Mapping[str, Outcome], runs: Path, metric: str, higher: bool
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The values with the best mean of `metric` on validation, and a row for each trial.

    A trial of which a run diverged comes after all others; of equals, the first is taken. Raises BadInput where a run was
    evaluated on anything but the validation split.
    """
    rows = []
    for values, tried in trials:
        scores = [_score(runs / run.key, metric) if outcomes[run.key].state == "complete" else None for run in tried]
        finite = [score for score in scores if score is not None]
        rows.append(
            {
                "values": values,
                "score": sum(finite) / len(finite) if len(finite) == len(scores) else None,
                "diverged": len(scores) - len(finite),
                "runs": [run.key for run in tried],
            }
        )
    sign = 1.0 if higher else -1.0
    best = max(rows, key=lambda row: (-row["diverged"], sign * row["score"] if row["score"] is not None else 0.0))
    for row in rows:
        row["chosen"] = row is best
    return best["values"], rows


def _score(run_dir: Path, metric: str) -> float | None:
    document = read_json(run_dir / "metrics.json")
    if document["split"] != "validation":
        raise BadInput(
            f"{run_dir} was evaluated on the {document['split']} split; tuning reads validation only",
            fix="remove that directory and run the study again",
        )
    score: float | None = document["metrics"][metric]
    return score
