"""The metrics of a model on a split."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator

import torch

from lot.contracts import Context, Model, Output, Split, Task
from lot.devices.precision import autocast
from lot.devices.processes import Team
from lot.errors import BadInput
from lot.nn.documents import context

Forward = Callable[[torch.Tensor, Context], Output]
Observe = Callable[[torch.Tensor, torch.Tensor, int, torch.Tensor | None], None]
"""Told logits (B, T, V) float32, targets (B, T), the place of the first example in its split, and `Context.positions`."""


@contextlib.contextmanager
def evaluating(model: Model, want: frozenset[str] = frozenset()) -> Iterator[None]:
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
    model: Model,
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
    observe: Observe | None = None,
) -> dict[str, float]:
    """The task's metrics on the first `limit` examples of a split (None: all).

    forward: a compiled form of `model`, used for full batches. team: processes that all call this and take turns with the
    batches; torchmetrics brings their counts together. together: whether all must pass through the model equally often:
    a process that has no batch left then passes one that is not counted. observe: told every batch that is counted here.
    """
    length = task.length(split)
    if length is None and limit is None:
        raise BadInput(f"the {split} split of this task has no end", fix="say how many examples to measure")
    count = min(n for n in (length, limit) if n is not None)
    batches = -(-count // batch_size)
    rank, world = (team.rank, team.world) if team else (0, 1)
    counting = torch.device("cpu") if device.type == "mps" else device  # metrics sum in float64, which MPS lacks
    metrics = task.metrics().to(counting)
    at_step = torch.tensor(step, device=device)
    with torch.no_grad(), evaluating(model):
        for first in range(0, batches, world):
            index = first + rank
            counted = index < batches
            if not counted and not together:
                break
            batch = task.batch(split, index if counted else 0, batch_size, device)
            full = batch.inputs.shape[0] == batch_size
            run: Forward = forward if forward is not None and full else model
            ctx = context(batch, at_step)
            with autocast(device, precision):
                output = run(batch.inputs, ctx)
            if counted:
                rows = count - index * batch_size  # the last batch of a limited count is cut
                metrics.update(output.logits[:rows].float().to(counting), batch.targets[:rows].to(counting))
                if observe is not None:
                    positions = None if ctx.positions is None else ctx.positions[:rows]
                    observe(output.logits[:rows].float(), batch.targets[:rows], index * batch_size, positions)
    with warnings.catch_warnings():  # that a process had no batch to count
        warnings.filterwarnings("ignore", message="The ``compute`` method of metric")
        return {name: float(value) for name, value in metrics.compute().items()}
