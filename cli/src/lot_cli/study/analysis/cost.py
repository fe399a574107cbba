"""What an arm costs: operations and memory, counted once, and time, from the logs of its runs."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from lot.config.schema import Config
from lot.model.operations import OperationCounter
from lot.model.prefix import computed_anew
from lot.nn import context
from lot.runs.directory import RunDir
from lot.storage.files import read_json, write_json
from lot.training.compose import compose
from lot_cli.bench.harness import peak_bytes
from lot_cli.study.result import Cost


def cost_of(run_dirs: Sequence[Path], config: Config, device: str, tokens_per_step: int) -> Cost:
    """The cost of the arm with these runs. What is counted is kept beside the first run and not
    counted again.

    config: of the first run. device: the type of the device, such as cpu or cuda.
    """
    kept = run_dirs[0].with_name(f"{run_dirs[0].name}.cost.json")
    counted = _counted_before(kept)
    if counted is None:
        counted = count_operations(config, device)
        write_json(kept, counted)
    rows_of = [RunDir(run_dir).rows("timing.jsonl") for run_dir in run_dirs]
    # The first row of a run includes the time in which it warms up.
    speeds = [row["tokens_per_second"] for rows in rows_of for row in rows[1:]]
    totals = [sum(row["seconds"] for row in rows) for rows in rows_of if rows]
    peaks = [row["peak_memory_bytes"] for rows in rows_of for row in rows if "peak_memory_bytes" in row]
    speed = statistics.median(speeds) if speeds else None
    return Cost(
        flops_per_token=counted["flops_per_token"],
        uncounted=counted.get("uncounted"),
        peak_bytes=max(peaks, default=counted["peak_bytes"]),
        tokens_per_second=speed,
        seconds_per_step=None if speed is None else tokens_per_step / speed,
        seconds_per_run=statistics.median(totals) if totals else None,
    )


def _counted_before(kept: Path) -> dict[str, Any] | None:
    """What was counted and kept; None where nothing was, or where the file is damaged: it can be counted again."""
    try:
        counted = read_json(kept)
    except (OSError, ValueError):
        return None
    keys = ("flops_per_token", "peak_bytes")
    kinds = (int, float, type(None))
    whole = isinstance(counted, dict) and all(key in counted and isinstance(counted[key], kinds) for key in keys)
    return counted if whole and _is_names(counted.get("uncounted")) else None


def _is_names(value: object) -> bool:
    """Whether it is a list of names, or nothing, as in what an earlier rule counted."""
    return value is None or (isinstance(value, list) and all(isinstance(name, str) for name in value))


def count_operations(config: Config, device: str) -> dict[str, Any]:
    """Floating-point operations per training token, and on the CPU the peak bytes of a training
    step's tensors.

    Operations are counted by the rule of `lot.model.operations`, the same for every arm: products of matrices, elementwise
    functions, reductions and attention, and for operators that only a plugin knows what its formulas say; over forward and
    backward of one sequence, in the form that runs on the CPU. `uncounted` names operators that have no formula, which
    count nothing. Memory holds what a step allocates beyond
    weights and optimizer state; on a GPU the runs record their peak themselves,
    and `peak_bytes` is None here.
    """
    composition = compose(config)
    model = composition.model.train()

    def step(size: int) -> int:
        batch = composition.task.batch("train", 0, size)
        ctx = context(batch, torch.zeros((), dtype=torch.int64))
        with computed_anew(model):  # what the cache happens to hold would count as nothing
            total, _ = composition.objective(model(batch.inputs, ctx), batch, ctx, 0)
        total.backward()  # type: ignore[no-untyped-call]
        model.zero_grad(set_to_none=True)
        return batch.inputs.numel()

    with OperationCounter() as counter:
        tokens = step(1)
    return {
        "flops_per_token": counter.total / tokens,
        "uncounted": sorted(counter.uncounted),
        "peak_bytes": peak_bytes(lambda: step(config.train.batch_size)) if device == "cpu" else None,
    }


def flops_per_token(config: Config) -> float:
    """The operations alone, which takes no batch."""
    return float(count_operations(config, device="none")["flops_per_token"])
