"""What a question is about: the model of a run at one of its checkpoints, and the task on which it is asked."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lot.config.load import load_config
from lot.config.schema import Config
from lot.contracts import Batch, Diagnostic, Model, Record, Split, Task
from lot.devices.precision import choose_precision
from lot.errors import BadInput
from lot.model.build import build_model, leaks, rebuild_task
from lot.random import torch_generator
from lot.runs.load import BEST, RecordedRun, load_run, other_data
from lot.storage.assets import read_assets
from lot.training.compose import Composition, check_documents, check_signals_of_documents, signals_given
from lot.training.diagnose import look_at
from lot.training.objective import Objective

SAME = 1e-4
"""Largest difference of logits, relative to the largest, by which a model that was built for longer sequences may differ."""


@dataclass(frozen=True)
class Subject:
    """A model and the task on which it is asked.

    loaded: the run, with the model at its checkpoint. config: of the run, with the task that is asked about. task: that task.
    leak: whether the model sees what it is asked to predict there, or was trained to.
    """

    loaded: RecordedRun
    config: Config
    task: Task
    leak: bool

    @property
    def model(self) -> Model:
        """In evaluation mode, on its device."""
        return self.loaded.model

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    @property
    def precision(self) -> str:
        """As in training, on this device."""
        return choose_precision(self.config.train.precision, self.device)

    def check_data(self, warn: Callable[[str], None]) -> None:
        """Warn where the task of the training has read other files than then: for when it has read what is needed."""
        loaded = self.loaded
        if self.task is loaded.task:
            loaded.check_data(warn)
        elif self.config.task.component == loaded.config.task.component and loaded.trained_on not in (
            None,
            self.task.origin,
        ):
            warn(other_data(loaded.path, self.config))

    @functools.cached_property
    def _composition(self) -> Composition:
        """The parts of a run, as diagnostics need them; those of the configuration are not created."""
        objective = Objective(self.config.losses, signals_given(self.config))
        return Composition(self.config, self.task, self.model, objective, {}, {}, self.leak)

    def look(self, name: str, diagnostic: Diagnostic, split: Split, prompted: Batch | None = None) -> Record:
        """What a diagnostic measures: on the text of a user, or without one on the first sequences of `split`."""
        if prompted is None:
            check_signals_of_documents(self.config, self.task, f"diagnostic {name}", diagnostic.needs)
            size = min(self.config.train.batch_size, diagnostic.examples)
            batch = self.task.batch(split, 0, size, self.device)
        else:
            batch = prompted
        values = look_at(
            self._composition,
            name,
            diagnostic,
            batch,
            step=self.loaded.step,
            device=self.device,
            precision=self.precision,
            prompted=prompted is not None,
        )
        return Record(self.loaded.step, values)

    def label(self, *further: Any) -> str:
        """A name for what was asked: empty for the task of the training, else the task and a digest of all that differs."""
        differs = (
            self.config.task.table() != self.loaded.config.task.table() or self.task.origin != self.loaded.trained_on
        )
        facts = [self.config.task.table(), self.task.origin if differs else None, *further]
        if not differs and not any(further):
            return ""
        digest = hashlib.sha256(json.dumps(facts, default=str).encode()).hexdigest()[:8]
        return f"{self.config.task.name.replace(':', '-')}-{digest}"


def subject(
    run: str | Path,
    *,
    checkpoint: str | int = BEST,
    task: str | None = None,
    overrides: Sequence[str] = (),
    data: str | Path | None = None,
    device: str = "auto",
    warn: Callable[[str], None] = lambda text: None,
) -> Subject:
    """The subject of a question about a run; arguments as those of `lot.evaluate`. Raises BadInput for what does not fit."""
    path = None if data is None else Path(data)
    other = task is not None or bool(overrides)
    loaded = load_run(run, device=device, checkpoint=checkpoint, data=None if other else data, warn=warn)
    if not other:
        return Subject(loaded, loaded.config, loaded.task, loaded.leak)
    for override in overrides:
        if not override.strip().startswith("task."):
            raise BadInput(where="--set", expected="an option of the task, as in task.seq_len=64", got=repr(override))
    select = {} if task is None else {"task": task}
    config = load_config(loaded.config.to_dict(), select=select, overrides=overrides, kept=loaded.config.model.kept)
    same = config.task.component == loaded.config.task.component
    asked = rebuild_task(config, read_assets(loaded.path) if same else {}, path)
    if asked.vocab_size != loaded.task.vocab_size:
        raise BadInput(
            where="task.vocab_size",
            expected=f"{loaded.task.vocab_size}, for which the model was trained",
            got=asked.vocab_size,
        )
    if asked.seq_len > loaded.model.dims.max_len:
        loaded = dataclasses.replace(loaded, model=_longer(loaded, asked.seq_len))
    check_documents(config, asked, loaded.model)
    return Subject(loaded, config, asked, loaded.leak or leaks(config, asked, loaded.model))


def _longer(loaded: RecordedRun, length: int) -> Model:
    """The model with room for `length` tokens.

    Raises BadInput where it has no positions beyond those of the training, or where it would be another model.
    """
    longest, where = loaded.model.dims.max_len, "task.seq_len"
    expected = f"at most {longest} tokens, the longest that this model reads"
    if loaded.config.sizes.positions == "learned":
        fix = "its positions are learned: train with model.positions=rotary, or with a larger model.max_len"
        raise BadInput(where=where, expected=expected, got=length, fix=fix)
    config = load_config(loaded.config.to_dict(), overrides=[f"model.max_len={length}"], kept=loaded.config.model.kept)
    longer = build_model(config, loaded.task)
    trained = loaded.model.state_dict()
    fits = {name: value.shape for name, value in longer.state_dict().items()} == {
        k: v.shape for k, v in trained.items()
    }
    if fits:
        longer.load_state_dict(trained)
        longer = longer.to(next(loaded.model.parameters()).device).eval()
        generator = torch_generator(0, "longer", "ids")
        ids = torch.randint(loaded.task.vocab_size, (1, longest), generator=generator)
        ids = ids.to(next(longer.parameters()).device)
        with torch.no_grad():
            ours, theirs = longer(ids).logits, loaded.model(ids).logits
        fits = bool((ours - theirs).abs().max() <= SAME * theirs.abs().max())
    if not fits:
        fix = "its mechanism depends on model.max_len: train with a larger one"
        raise BadInput(where=where, expected=expected, got=length, fix=fix)
    return longer
