"""Training steps outside of a run, so that what a step of a configuration takes can be timed before anything is recorded."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

from lot.config.schema import Config
from lot.devices.processes import join_team
from lot.runs.directory import RunDir
from lot.training.compose import compose
from lot.training.events import silent
from lot.training.interruption import StopSignal
from lot.training.train import deterministic
from lot.training.trainer import Trainer


class TrainingSteps:
    """The training of a configuration, step by step: the very steps that a run makes, with its data, its precision and its
    compiled forms, but without logs, validations, checkpoints and diagnostics."""

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer
        trainer.model.train()

    def make(self, steps: int) -> None:
        """Go on by so many steps, and wait until the device is done with them. Raises Diverged."""
        for _ in range(steps):
            self._trainer.train_step()
            self._trainer.progress.sums = {}
        if self._trainer.team.device.type == "cuda":
            torch.cuda.synchronize(self._trainer.team.device)


@contextlib.contextmanager
def training_steps(config: Config, device: str = "auto") -> Iterator[TrainingSteps]:
    """Steps of what `config` describes, while the context lasts. Raises BadInput where it cannot be trained."""
    team = join_team(device, config.train.batch_size, config.train.context_parallel)
    with tempfile.TemporaryDirectory(prefix="lot-steps-") as folder, deterministic(config, team.device):
        yield TrainingSteps(Trainer(compose(config), RunDir(Path(folder)), team, silent, StopSignal()))
