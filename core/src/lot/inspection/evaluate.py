"""Metrics of a finished run: on any checkpoint, split, length, task and file."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lot.contracts import IGNORED, Diagnostic, Split
from lot.errors import BadInput
from lot.inspection.subject import Subject, subject
from lot.model.measure import measure_split
from lot.model.prefix import keep_prefix
from lot.plugins.registry import registry
from lot.runs.load import BEST
from lot.runs.shown import Shown, Table, written
from lot.storage.files import make_folder, write_json
from lot.training.compose import signals_given
from lot.training.trained_part import trained

USUAL = ("order_parameter", "attention_entropy")
"""Diagnostics whose scalars tell about a mechanism wherever they can be measured."""
MOST_WEIGHTS = 1 << 26
"""Attention weights, at most, that are held for one of the usual diagnostics."""


class Evaluation(Shown, dict[str, Any]):
    """What `lot.evaluate` found: a dict, which shows its metrics."""

    def table(self) -> Table:
        """The metrics, and the scalars of the mechanism."""
        rows = [(name, written(value)) for key in ("metrics", "mechanism") for name, value in self[key].items()]
        title = f"{self['run']}, step {self['step']:,}: {self['split']} split, {self['examples']:,} examples"
        return Table(title, rows, leak=self["leak"])


def evaluate(
    run: str | Path,
    *,
    split: Split = "test",
    checkpoint: str | int = BEST,
    task: str | None = None,
    overrides: Sequence[str] = (),
    data: str | Path | None = None,
    examples: int | None = None,
    device: str = "auto",
    warn: Callable[[str], None] = lambda text: None,
) -> Evaluation:
    """The metrics of a run's model on a split.

    run: a run directory, a folder of versions (the newest is taken), or the folder of a checkpoint. checkpoint: `best`, `last`
    or a step. task, overrides: another task, or other options of it, as `"task.seq_len=256"`; its vocabulary must be that of
    the model. data: a file in place of the one that the task reads. examples: how many, from the first on (default: all; of a
    training split, `train.eval_examples`).

    Returns an `Evaluation`, the table `{"run", "split", "step", "checkpoint", "leak", "task", "examples", "data", "read",
    "metrics", "mechanism", "loss_by_position", "label"}`. data: the digest of the files that were read, or None. read: the
    absolute path that was given by `data`, or None. mechanism: the scalars,
    by `DIAGNOSTIC.NAME`, of the diagnostics that the run measures and of the usual ones, on the first sequences of the split.
    loss_by_position: nats at each position, None where nothing is scored; a position counts from the start of the sequence that
    the model sees: of the row, or of its document where the task tells documents apart. label: names what was asked where
    it was not the whole split of the task of the training. Raises BadInput for what does not fit; nothing is
    written.
    """
    asked = subject(run, checkpoint=checkpoint, task=task, overrides=overrides, data=data, device=device, warn=warn)
    train = asked.config.train
    length = asked.task.length(split)
    limit = train.eval_examples if examples is None and split == "train" else examples
    if train.cache_prefix:
        keep_prefix(asked.model, trained(asked.model, train.only), warn, asked.config)
    by_position = _ByPosition(asked.task.seq_len, asked.device)
    metrics = measure_split(
        asked.model,
        asked.task,
        split,
        batch_size=train.batch_size,
        device=asked.device,
        precision=asked.precision,
        step=asked.loaded.step,
        limit=limit,
        observe=by_position.add,
    )
    mechanism = _mechanism(asked, split, warn)
    asked.check_data(warn)
    return Evaluation(
        {
            "run": str(asked.loaded.path),
            "split": split,
            "step": asked.loaded.step,
            "checkpoint": str(asked.loaded.checkpoint),
            "leak": asked.leak,
            "task": asked.config.task.table(),
            "examples": min(n for n in (length, limit) if n is not None),
            "data": asked.task.origin,
            "read": None if data is None else str(Path(data).absolute()),
            "metrics": metrics,
            "mechanism": mechanism,
            "loss_by_position": by_position.means(),
            "label": asked.label(examples),
        }
    )


def record_evaluation(found: dict[str, Any]) -> Path:
    """Write what `evaluate` returned to the folder `evaluations` of its run. An equal question replaces its earlier answer.

    Raises OSError.
    """
    parts = [found["split"], f"step_{found['step']:08d}", *([found["label"]] if found["label"] else [])]
    path = make_folder(Path(found["run"]), "evaluations") / f"{'-'.join(parts)}.json"
    write_json(path, for_json(found))
    return path


def for_json(found: dict[str, Any]) -> dict[str, Any]:
    """What `evaluate` returned, with None for numbers that are not finite, which JSON has not."""
    tables = {key: {name: _finite(value) for name, value in found[key].items()} for key in ("metrics", "mechanism")}
    return {**found, **tables, "loss_by_position": [_finite(value) for value in found["loss_by_position"]]}


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


class _ByPosition:
    """Sum and number of losses at each position that the model sees."""

    def __init__(self, positions: int, device: torch.device) -> None:
        counting = torch.device("cpu") if device.type == "mps" else device  # which lacks float64
        self.total = torch.zeros(positions, dtype=torch.float64, device=counting)
        self.count = torch.zeros(positions, dtype=torch.int64, device=counting)

    def add(self, logits: Tensor, targets: Tensor, first: int, positions: Tensor | None) -> None:
        """Count a batch: logits (B, T, V) float32, targets (B, T); `first` is the number of its first example.

        positions: (B, T) int64, or None where each row counts from 0.
        """
        losses = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="none"
        ).view_as(targets)
        losses, scored = losses.to(self.total.device), (targets != IGNORED).to(self.total.device)
        if positions is None:
            self.total += losses.sum(0, dtype=torch.float64)
            self.count += scored.sum(0)
            return
        # On the CPU, which adds in one order every time.
        place = positions.flatten().cpu()
        for sum_, values in ((self.total, losses), (self.count, scored)):
            added = torch.zeros(sum_.shape, dtype=sum_.dtype).index_add(0, place, values.flatten().cpu().to(sum_.dtype))
            sum_ += added.to(sum_.device)

    def means(self) -> list[float | None]:
        """Nats per scored token at each position; None where none was scored."""
        pairs = zip(self.total.tolist(), self.count.tolist(), strict=True)
        return [total / count if count else None for total, count in pairs]


def _mechanism(asked: Subject, split: Split, warn: Callable[[str], None]) -> dict[str, float]:
    """The scalars of diagnostics, on the first sequences of the split; one that cannot be measured there is told."""
    found: dict[str, float] = {}
    for name, diagnostic in _diagnostics(asked).items():
        try:
            record = asked.look(name, diagnostic, split)
        except BadInput as error:
            warn(f"{name}: {error}")
            continue
        found.update({f"{name}.{key}": float(value) for key, value in record.scalars.items()})
    return found


def _diagnostics(asked: Subject) -> dict[str, Diagnostic]:
    """The diagnostics of the run, and the usual ones as far as the model gives what they need."""
    chosen = asked.config.diagnostics
    found: dict[str, Diagnostic] = {name: one.create(f"diagnostics.{name}") for name, one in chosen.items()}
    sizes, given = asked.config.sizes, signals_given(asked.config)
    for name in USUAL:
        if name in found or name not in registry().names("diagnostic"):
            continue
        diagnostic: Diagnostic = registry().get("diagnostic", name).build()
        size = min(asked.config.train.batch_size, diagnostic.examples)
        weights = sizes.layers * sizes.heads * size * asked.task.seq_len**2
        if diagnostic.needs <= given and ("attention" not in diagnostic.needs or weights <= MOST_WEIGHTS):
            found[name] = diagnostic
    return found
