"""The engine's step against a bare hand-written loop on the same model and the same batches.

The loop does what a careful person would write: batch, forward, cross-entropy, backward, clip, AdamW, schedule. The engine
adds keyed noise, running means for the log, divergence detection and the objective's bookkeeping.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F

from lot import load_config
from lot.config.schedule import learning_rate_factor
from lot.config.schema import Config
from lot.contracts import Context
from lot.devices.processes import Team
from lot.runs.directory import RunDir
from lot.training.compose import compose
from lot.training.interruption import StopSignal
from lot.training.trainer import Trainer
from lot_cli.bench import Case


def setting(width: int, layers: int) -> Config:
    """A decoder with vanilla attention on copy_reverse."""
    return load_config(
        {
            "task": {"name": "copy_reverse"},
            "model": {"width": width, "layers": layers, "heads": 8},
            "train": {"steps": 10_000, "batch_size": 64, "precision": "fp32", "compile": "off"},
        }
    )


class BareLoop:
    """The hand-written loop; each call is one step."""

    def __init__(self, config: Config) -> None:
        composition = compose(config)
        self.model, self.task, self.config = composition.model.train(), composition.task, config
        self.parameters = list(self.model.parameters())
        self.optimizer = config.optim.component.create(config.optim.options, self.model)
        self.step = 0

    def __call__(self) -> None:
        train = self.config.train
        factor = learning_rate_factor(self.step, train.steps, train.warmup, train.decay, train.min_lr_ratio)
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.optim.options.lr * factor
        batch = self.task.batch("train", self.step, train.batch_size)
        logits = self.model(batch.inputs, Context()).logits
        loss = F.cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), ignore_index=-100)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, train.clip)
        self.optimizer.step()
        self.step += 1


def cases() -> Iterator[Case]:
    """A small model, where overhead shows most, and a larger one."""
    folder = Path(tempfile.mkdtemp())
    for width, layers in ((128, 2), (384, 6)):
        config = setting(width, layers)
        team = Team(0, 1, torch.device("cpu"))
        trainer = Trainer(compose(config), RunDir(folder), team, lambda event, facts: None, StopSignal())
        trainer.model.train()
        yield Case(
            name=f"training step, {layers} layers x {width}",
            candidate=trainer.train_step,
            baseline=BareLoop(config),
            baseline_name="hand-written loop",
            cost=1.05,
        )
