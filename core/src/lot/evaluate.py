"""Metrics of a model on a split, and of a finished run from its best checkpoint."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from lot.contracts import Context, Output, Split, Task
from lot.model import Decoder
from lot.recorded import load_run
from lot.team import Team

Forward = Callable[[torch.Tensor, Context], Output]


@contextlib.contextmanager
def evaluating(model: Decoder, want: frozenset[str] = frozenset()) -> Iterator[None]:
    """The model in evaluation mode and giving the signals `want`; afterwards as it was."""
    before, training = model.want, model.training
    model.eval()
    model.set_want(want)
    try:
        yield
    finally:
        model.train(training)
        model.set_want(before)


def measure_split(
    model: Decoder,
    task: Task,
    split: Split,
    *,
    batch_size: int,
    device: torch.device,
    precision: str,
    step: int,
    limit: int | None = None,
    forward: Forward | None = None,
    team: Team | None = None,
    together: bool = False,
) -> dict[str, float]:
    """The task's metrics on the first `limit` examples of a split (None: all).

    forward: a compiled form of `model`, used for full batches. team: processes that all call this and take turns with the
    batches; torchmetrics brings their counts together. together: whether all must pass through the model equally often:
    whoever has no batch left then passes one that is not counted.
    """
    length = task.length(split)
    assert length is not None, f"the {split} split of a task is finite"
    count = length if limit is None else min(length, limit)
    batches = -(-count // batch_size)
    rank, world = (team.rank, team.world) if team else (0, 1)
    metrics = task.metrics().to(device)
    ctx = Context(step=torch.tensor(step, device=device))
    with torch.no_grad(), evaluating(model):
        for first in range(0, batches, world):
            index = first + rank
            counted = index < batches
            if not counted and not together:
                break
            batch = task.batch(split, index if counted else 0, batch_size, device)
            full = batch.inputs.shape[0] == batch_size
            run: Forward = forward if forward is not None and full else model
            with autocast(device, precision):
                output = run(batch.inputs, Context(step=ctx.step, padding=batch.padding))
            if counted:
                rows = count - index * batch_size  # the last batch of a limited count is cut
                metrics.update(output.logits[:rows].float(), batch.targets[:rows])
    with warnings.catch_warnings():  # that a process had no batch to count
        warnings.filterwarnings("ignore", message="The ``compute`` method of metric")
        return {name: float(value) for name, value in metrics.compute().items()}


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Autocast to bfloat16 where `precision` is "bf16", nothing otherwise."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def choose_precision(precision: str, device: torch.device) -> str:
    """ "fp32" or "bf16"; `auto` is bf16 on a GPU that has it."""
    if precision != "auto":
        return precision
    return "bf16" if device.type == "cuda" and torch.cuda.is_bf16_supported() else "fp32"


def evaluate(
    run: str | Path, *, split: Split = "test", device: str = "auto", warn: Callable[[str], None] = lambda text: None
) -> dict[str, Any]:
    """The metrics of a run's best checkpoint on all of `split`.

    run: a run directory, or a folder of versions (the newest is taken). Returns `{"run", "split", "step", "checkpoint",
    "metrics"}`. Raises BadInput where there is no run, no checkpoint, or none that is sound; nothing is written.
    """
    loaded = load_run(run, device=device, warn=warn)
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
    return {
        "run": str(loaded.path),
        "split": split,
        "step": loaded.step,
        "checkpoint": str(loaded.checkpoint),
        "leak": loaded.leak,
        "metrics": metrics,
    }
