"""Diagnostics in a pass of their own: they see the model as it is, and cannot change what training does next."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lot.contracts import Batch, Context, Diagnostic, Probe, Record
from lot.errors import BadInput
from lot.evaluate import autocast, evaluating
from lot.random import isolated, torch_generator

if TYPE_CHECKING:
    from lot.compose import Composition


def measure(
    composition: Composition, name: str, diagnostic: Diagnostic, step: int, device: torch.device, precision: str
) -> dict[str, Tensor]:
    """What `diagnostic` measures at `step`, on the CPU."""
    model, task, objective = composition.model, composition.task, composition.objective
    # Always the first sequences of the validation split, so that measurements compare.
    size = min(composition.config.train.batch_size, diagnostic.examples)
    batch = task.batch("validation", 0, size, device)
    ctx = Context(step=torch.tensor(step, device=device), padding=batch.padding)
    seed = composition.config.seed

    def gradients() -> dict[str, Tensor]:
        """Of the objective on the probe's batch, by parameter name; parameters that it does not reach are left out."""
        named = {key: p for key, p in model.named_parameters() if p.requires_grad}
        with torch.enable_grad(), evaluating(model, objective.want), autocast(device, precision):
            total, _ = objective(model(batch.inputs, ctx), batch, ctx, step)
            found = torch.autograd.grad(total, list(named.values()), allow_unused=True)
        return {key: g for key, g in zip(named, found, strict=True) if g is not None}

    with isolated(seed, "diagnostic", name, step), torch.no_grad(), evaluating(model, diagnostic.needs):
        with autocast(device, precision):
            output = model(batch.inputs, ctx)
        probe = Probe(
            model=model,
            batch=Batch(*batch),
            output=output,
            ctx=ctx,
            task=task,
            generator=torch_generator(seed, "diagnostic", name, step),
            gradients=gradients,
        )
        return {key: value.detach().cpu() for key, value in diagnostic.measure(probe).items()}


def save_snapshot(folder: Path, name: str, step: int, values: dict[str, Tensor]) -> None:
    """Write what a diagnostic measured to `folder/name/step_N.safetensors`, whole or not at all. Raises OSError."""
    from safetensors.torch import save_file

    (folder / name).mkdir(parents=True, exist_ok=True)
    final = folder / name / f"step_{step:08d}.safetensors"
    temporary = final.with_name(f".{final.name}.tmp")
    try:
        save_file({key: value.contiguous().clone() for key, value in values.items()}, temporary)
        temporary.replace(final)
    except Exception as error:
        temporary.unlink(missing_ok=True)
        raise OSError(str(error)) from error


def load_records(run: Path, name: str) -> list[Record]:
    """All that the diagnostic `name` measured in a run, oldest first. Raises BadInput for a snapshot that is damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    records = []
    for path in sorted((run / "snapshots" / name).glob("step_*.safetensors")):
        try:
            records.append(Record(int(path.stem.removeprefix("step_")), load_file(path)))
        except (SafetensorError, OSError, ValueError) as error:
            raise BadInput(f"{path}: damaged ({error})", fix="restore it, or remove it to go on without it") from None
    return records
