"""What a run says of itself before it starts."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lot.devices.device import device_name

if TYPE_CHECKING:
    from lot.training.trainer import Trainer


def run_header(trainer: Trainer) -> dict[str, Any]:
    """The facts of the events `start` and `resume`.

    parallel: none, ddp or fsdp. context_parallel: how many processes hold a sequence together.
    """
    config, task, settings = trainer.config, trainer.task, trainer.settings
    attentions: list[Any] = list(trainer.model.attentions)
    notes = [a.describe() for a in attentions if hasattr(a, "describe")]
    return {
        "run": str(trainer.run.path),
        "config": config.to_dict(),
        "title": config.title,
        "parameters": trainer.composition.parameters,
        "attention": [config.attention_of(layer).name for layer in range(len(attentions))],
        "notes": list(dict.fromkeys(notes)),
        "device": device_name(trainer.device),
        "processes": trainer.team.world,
        "parallel": trainer.parallel.kind,
        "context_parallel": trainer.team.span,
        "precision": trainer.precision,
        "compile": trainer.compiled,
        "steps": settings.steps,
        "step": trainer.step,
        "tokens_per_step": settings.batch_size * settings.accumulate * task.seq_len,
        "primary": task.primary,
        "leak": trainer.composition.leak,
        "tolerance": max(a.tolerance for a in attentions),
    }


Report = Callable[[str, dict[str, Any]], None]
"""Told what happens: (event, facts), event being start, resume, log, validation, diagnostic, checkpoint, warning, test or end."""


def _silent(event: str, facts: dict[str, Any]) -> None:
    """Nobody wants to know."""
