"""Diagnostics of a run: which are due at a step, and what a measurement leaves behind: records, and nothing else."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from lot.contracts import Batch, Diagnostic, Model, Probe, Record
from lot.devices.precision import autocast
from lot.figure import mark_leak
from lot.model.measure import evaluating
from lot.model.prefix import computed_anew
from lot.nn.documents import context
from lot.random import isolated, torch_generator
from lot.runs.directory import RunDir
from lot.storage.snapshots import load_records, save_snapshot, snapshot_path
from lot.training.compose import Composition
from lot.training.protection import TaskWithoutTest, unchanged
from lot.training.reporting import Reporter

REMEMBERED = 8
"""Measurements of which an alarm may judge."""


class Diagnosing:
    """Measures what is due; scalars go to the log, everything to a snapshot, what `alarm` says to the reader."""

    def __init__(
        self, composition: Composition, run: RunDir, reporter: Reporter, optimizer: torch.optim.Optimizer
    ) -> None:
        self.composition, self.run, self.reporter, self.optimizer = composition, run, reporter, optimizer
        self._recent: dict[str, deque[Record]] = {}

    def due(self, step: int) -> list[str]:
        """The diagnostics to measure at `step`: each as often as it wants, and all at the end."""
        every = {name: chosen.every for name, (chosen, _) in self.composition.diagnostics.items()}
        return [name for name in every if step % every[name] == 0 or step == self.composition.config.train.steps]

    def look(self, model: Model | None, names: list[str], step: int, device: torch.device, precision: str) -> None:
        """Measure the diagnostics `names` on `model`, a form of the composition's on `device`.

        Raises OSError, and RunFailed for a diagnostic that changes something or asks for the test split.
        """
        assert model is not None, "only the main process looks"
        composition = replace(self.composition, model=model)
        for name in names:
            diagnostic = composition.diagnostics[name][1]
            # Always the first sequences of the validation split, so that measurements compare.
            size = min(composition.config.train.batch_size, diagnostic.examples)
            values = look_at(
                composition,
                name,
                diagnostic,
                composition.task.batch("validation", 0, size, device),
                step=step,
                device=device,
                precision=precision,
                others=[self.composition.model],  # a replica was measured, where the model is sharded
                optimizer=self.optimizer,
            )
            save_snapshot(self.run.snapshots, name, step, values)
            scalars = Record(step, values).scalars
            numbers = {key: float(value) for key, value in scalars.items()}
            self.reporter.diagnostic(name, step, diagnostic.headline, numbers)
            recent = self._recent[name] if name in self._recent else self._earlier(name, step)
            recent.append(Record(step, scalars))
            if (line := diagnostic.alarm(list(recent))) is not None:
                self.reporter.warn(step, f"{name}: {line}")

    def missing(self, step: int) -> str:
        """The snapshots up to `step` that are not on the disk, for a message: `phase at 0, 50`; empty where all are."""
        told = []
        for name, (chosen, _) in self.composition.diagnostics.items():
            expected = range(0, step + 1, chosen.every)
            lost = [at for at in expected if not snapshot_path(self.run.snapshots, name, at).exists()]
            if lost:
                more = f" and {len(lost) - 5} more" if len(lost) > 5 else ""
                told.append(f"{name} at {', '.join(map(str, lost[:5]))}{more}")
        return "; ".join(told)

    def picture(self, name: str, leak: bool) -> bytes | None:
        """What the diagnostic `name` draws of all its records, as PNG; None where there is nothing to draw."""
        records = load_records(self.run.path, name)
        figure = self.composition.diagnostics[name][1].draw(records) if records else None
        if figure is None:
            return None
        if leak:
            mark_leak(figure)
        content = io.BytesIO()
        figure.savefig(content, format="png")
        return content.getvalue()

    def _earlier(self, name: str, step: int) -> deque[Record]:
        """The last scalars measured before `step`: those of a run that was resumed."""
        self._recent[name] = deque(maxlen=REMEMBERED)
        for record in load_records(self.run.path, name):
            if record.step < step:
                self._recent[name].append(Record(record.step, record.scalars))
        return self._recent[name]


def look_at(
    composition: Composition,
    name: str,
    diagnostic: Diagnostic,
    batch: Batch,
    *,
    step: int,
    device: torch.device,
    precision: str,
    prompted: bool = False,
    others: Sequence[Model] = (),
    optimizer: torch.optim.Optimizer | None = None,
) -> dict[str, Tensor]:
    """What `diagnostic` measures on the model of `composition`, which is on `device`, as after `step`; on the CPU.

    batch: what it sees; prompted: that this is a text of the user. others: models that it must leave as they are too.
    Raises RunFailed for a diagnostic that changes something or asks for the test split.
    """
    model, objective = composition.model, composition.objective
    task = TaskWithoutTest(composition.task, name)
    ctx = context(batch, torch.tensor(step, device=device))
    seed = composition.config.seed

    def gradients() -> dict[str, Tensor]:
        """Of the objective on the probe's batch, by parameter name; parameters that it does not reach are left out."""
        named = {key: p for key, p in model.named_parameters() if p.requires_grad}
        with torch.enable_grad(), evaluating(model, objective.want), autocast(device, precision):
            total, _ = objective(model(batch.inputs, ctx), batch, ctx, step)
            found = torch.autograd.grad(total, list(named.values()), allow_unused=True)
        return {key: g for key, g in zip(named, found, strict=True) if g is not None}

    with (
        isolated(seed, "diagnostic", name, step),
        torch.no_grad(),
        evaluating(model, diagnostic.needs),
        computed_anew(model),
    ):
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
            prompted=prompted,
        )
        with unchanged(name, list(dict.fromkeys((model, *others))), optimizer):
            values = diagnostic.measure(probe)
        if task.asked:  # and went on in spite of the refusal
            raise task.refusal()
        return {key: value.detach().cpu() for key, value in values.items()}
