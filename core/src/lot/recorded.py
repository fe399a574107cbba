"""A recorded run, loaded back: its configuration, its task, and its model with the best checkpoint's weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from lot import checkpoint
from lot.compose import compose
from lot.config import Config, load_config
from lot.contracts import Task
from lot.environment import choose_device
from lot.evaluate import best_checkpoint, load_weights
from lot.model import Decoder
from lot.run_dir import find_run


@dataclass(frozen=True)
class RecordedRun:
    """path: the run directory. model: in evaluation mode, as it was after optimizer step `step`.

    leak: whether it was trained to see what it is asked to predict.
    """

    path: Path
    config: Config
    task: Task
    model: Decoder
    step: int
    checkpoint: Path
    leak: bool


def load_run(
    run: str | Path, *, device: str | torch.device = "auto", warn: Callable[[str], None] = lambda text: None
) -> RecordedRun:
    """The run at `run` (a run directory, or a folder of versions: the newest is taken) with its best model on `device`.

    warn: told when the best checkpoint is damaged and another is used. Raises BadInput where there is no run, no sound
    checkpoint, or one of another configuration; nothing is written.
    """
    path = find_run(Path(run))
    chosen = choose_device(str(device))
    folder = best_checkpoint(path, warn)
    composition = compose(load_config(path / "config.yaml"))
    loaded = checkpoint.load(folder, state=False)
    load_weights(composition.model, loaded.model, folder)
    model = composition.model.to(chosen).eval()
    model.set_want(frozenset())
    return RecordedRun(path, composition.config, composition.task, model, loaded.step, folder, composition.leak)
