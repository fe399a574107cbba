"""What an arm costs: operations and memory counted once, time from the logs of its runs."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lot.config.schema import Config
from lot.runs.directory import RunDir


def count(config: Config, device: str) -> dict[str, Any]:
    """Floating-point operations of a training token, and on the CPU the peak bytes of a training step's tensors.

    Operations are those that torch counts (`torch.utils.flop_counter`: products of matrices, convolutions, attention), over
    forward and backward of one sequence on the CPU; operators that only a plugin knows count nothing. Memory holds what a
    step allocates beyond weights and optimizer state; on a GPU the runs record their peak themselves.
    """
    from torch.utils.flop_counter import FlopCounterMode

    from lot.contracts import Context
    from lot.training.compose import compose
    from lot_cli.bench.harness import peak_bytes

    composition = compose(config)
    model = composition.model.train()

    def step(size: int) -> int:
        batch = composition.task.batch("train", 0, size)
        ctx = Context(padding=batch.padding)
        total, _ = composition.objective(model(batch.inputs, ctx), batch, ctx, 0)
        total.backward()  # type: ignore[no-untyped-call]
        model.zero_grad(set_to_none=True)
        return batch.inputs.numel()

    with FlopCounterMode(display=False) as counter:
        tokens = step(1)
    return {
        "flops_per_token": counter.get_total_flops() / tokens,
        "peak_bytes": peak_bytes(lambda: step(config.train.batch_size)) if device == "cpu" else None,
    }


def time_of(runs: Iterable[Path], tokens_per_step: int) -> dict[str, Any]:
    """Tokens/s (median over the rows of the runs' timing logs but the first of each), seconds a step, seconds that a run
    trained (median over the runs), and peak GPU memory."""
    speeds, totals, peaks = [], [], []
    for run in runs:
        rows = RunDir(run).rows("timing.jsonl")
        speeds += [row["tokens_per_second"] for row in rows[1:]]  # the first one includes warming up
        totals += [sum(row["seconds"] for row in rows)] if rows else []
        peaks += [row["peak_memory_bytes"] for row in rows if "peak_memory_bytes" in row]
    speed = statistics.median(speeds) if speeds else None
    return {
        "tokens_per_second": speed,
        "seconds_per_step": None if speed is None else tokens_per_step / speed,
        "seconds_per_run": statistics.median(totals) if totals else None,
        "peak_bytes": max(peaks, default=None),
    }
