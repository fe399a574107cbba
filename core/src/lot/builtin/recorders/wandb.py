"""Weights & Biases: a run there for each run here, online or offline as wandb itself is told."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from lot.builtin.recorders.config import WandbConfig, check_packages
from lot.builtin.recorders.picture_file import picture_file
from lot.contracts import Recorder, Recording
from lot.errors import BadInput


class Wandb(Recorder):
    """A chart `GROUP/NAME` over `step` for each number; configuration, result and pictures.

    The number of the remote run stays with the run, and a resumed run goes on in it. Whether anything is sent at once is
    up to wandb (WANDB_MODE, `wandb login`, `wandb offline`). Its own files lie where it puts them, by default in `wandb/` of the
    current folder (WANDB_DIR): they hold a link to the user's cache, and a run may hold none that leads out of it.
    """

    final = True

    def __init__(self, config: WandbConfig) -> None:
        check_packages(config)
        self.options, self.pictures = config, config.pictures
        self._run: Any = None

    def open(self, recording: Recording) -> int:
        """Begin a run, or go on in the one whose number was kept. Raises wandb's own error where it cannot be had."""
        import wandb

        if wandb.setup().settings.mode == "online" and not wandb.login(prompt=False, verify=False):
            raise BadInput("wandb has no key", fix="wandb login, or WANDB_MODE=offline")
        number = recording.kept.setdefault("id", secrets.token_hex(8))
        self._run = wandb.init(
            project=self.options.project,
            entity=self.options.entity,
            id=number,
            name=recording.title,
            config=dict(recording.config),
            tags=["LEAK"] if recording.leak else None,
            resume="allow",
            reinit="create_new",  # the caller of lot.train may have a run of his own
            settings=wandb.Settings(console="off", silent=True),  # stdout is left alone
        )
        self._run.define_metric("*", step_metric="step")  # of wandb's own step, none may come twice or late
        return recording.given

    def write(self, group: str, step: int, values: Mapping[str, float]) -> None:
        """A row of the history."""
        self._run.log({**{f"{group}/{name}": value for name, value in values.items()}, "step": step})

    def result(self, split: str, step: int, metrics: Mapping[str, float]) -> None:
        """The summary, which tables of runs show."""
        self._run.summary.update({f"{split}/{name}": value for name, value in metrics.items()})

    def picture(self, name: str, step: int, png: bytes) -> None:
        """An image `pictures/NAME`."""
        import wandb

        with picture_file(name, png) as path:
            self._run.log({f"pictures/{name}": wandb.Image(path), "step": step})  # wandb copies the file

    def close(self, state: str) -> None:
        """Finish the run there."""
        if self._run is not None:
            self._run.finish(exit_code=0 if state == "complete" else 1)
