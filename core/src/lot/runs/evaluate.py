"""Metrics of a model on a split, and of a finished run from its best checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lot.contracts import Split
from lot.devices.precision import choose_precision
from lot.model.measure import measure_split
from lot.runs.load import load_run


def evaluate(
    run: str | Path,
    *,
    split: Split = "test",
    data: str | Path | None = None,
    device: str = "auto",
    warn: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """The metrics of a run's best checkpoint on all of `split`.

    run: a run directory, or a folder of versions (the newest is taken). Returns `{"run", "split", "step", "checkpoint",
    "metrics"}`. Raises BadInput where there is no run, no checkpoint, or none that is sound; nothing is written.
    """
    loaded = load_run(run, device=device, data=data, warn=warn)
    train = loaded.config.train
    where = next(loaded.model.parameters()).device
    metrics = measure_split(
        loaded.model,
        loaded.task,
        split,
        batch_size=train.batch_size,
        device=where,
        precision=choose_precision(train.precision, where),
        step=loaded.step,
    )
    loaded.check_data(warn)
    return {
        "run": str(loaded.path),
        "split": split,
        "step": loaded.step,
        "checkpoint": str(loaded.checkpoint),
        "leak": loaded.leak,
        "metrics": metrics,
    }
