"""The events of a run: how a caller of `lot.train` follows it. Below the loop, which reports them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lot.devices.device import device_name
from lot.nn.documents import Documents
from lot.training.compose import Composition
from lot.training.parallel import Parallel

Report = Callable[[str, dict[str, Any]], None]
"""Told what happens: (event, facts), event being start, resume, log, validation, diagnostic, checkpoint, warning, test or end."""


def silent(event: str, facts: dict[str, Any]) -> None:
    """A report that tells nothing: that of every process but the main one."""


def run_header(
    composition: Composition,
    path: Path,
    parallel: Parallel,
    *,
    precision: str,
    compiled: bool,
    step: int,
    leak: bool,
    beginning: str = "",
) -> dict[str, Any]:
    """The facts of the events `start` and `resume`.

    parallel: none, ddp or fsdp. leak: declared or measured. context_parallel: how many processes hold a sequence together.
    parameters, resting: numbers that train, and that stay as they are.
    beginning: where the weights come from; empty where they are drawn.
    """
    config, task, settings = composition.config, composition.task, composition.config.train
    attentions: list[Any] = list(parallel.model.attentions.values())
    notes = [part.describe() for part in (parallel.model, *attentions) if hasattr(part, "describe")]
    if task.segments:
        batch = parallel.team.share(task.batch("train", 0, settings.batch_size)).batch
        assert batch.segments is not None
        cost = Documents(batch.segments, batch.padding).cost([parallel.model.embedding, *attentions])
        notes.append(f"{cost} (the first batch)")
    notes += composition.notes
    return {
        "run": str(path),
        "beginning": beginning,
        "config": config.to_dict(),
        "title": config.title,
        "parameters": composition.parameters,
        "resting": composition.resting,
        "attention": {layer: chosen.name for layer, chosen in config.attentions.items()},
        "mlp": {layer: chosen.name for layer, chosen in config.mlps.items()},
        "sizes": {name: getattr(config.sizes, name) for name in ("layers", "width", "heads", "positions")},
        "notes": list(dict.fromkeys(notes)),
        "device": device_name(parallel.team.device),
        "processes": parallel.team.world,
        "parallel": parallel.kind,
        "context_parallel": parallel.team.span,
        "precision": precision,
        "compile": compiled,
        "steps": settings.steps,
        "step": step,
        "tokens_per_step": settings.batch_size * settings.accumulate * task.seq_len,
        "primary": task.primary,
        "leak": leak,
        "tolerance": max([0.0, *(a.tolerance for a in attentions)]),
    }
