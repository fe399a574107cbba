"""A recorded run, loaded back: its configuration, its task, and its model with the best checkpoint's weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from lot.config.compare import differences
from lot.config.schema import Config
from lot.contracts import Model, Task
from lot.devices.device import choose_device
from lot.errors import BadInput
from lot.model.build import build_model, build_task, leaks
from lot.runs.directory import RunDir, find_run
from lot.storage import checkpoint
from lot.storage.checkpoint import load_weights
from lot.storage.folder import folder_of, problem_of, saved_steps


@dataclass(frozen=True)
class RecordedRun:
    """A recorded run with its best model.

    path: the run directory. config, task: what it was trained with. model: in evaluation mode, on the device that was
    asked for, as it was after optimizer step `step`. checkpoint: the folder that its weights come from. leak: whether it
    was trained to see what it is asked to predict, as it declares or as the run measured.
    """

    path: Path
    config: Config
    task: Task
    model: Model
    step: int
    checkpoint: Path
    leak: bool


def load_run(
    run: str | Path, *, device: str | torch.device = "auto", warn: Callable[[str], None] = lambda text: None
) -> RecordedRun:
    """The run at `run` (a run directory, or a folder of versions: the newest is taken) with its best model on `device`.

    warn: told when the best checkpoint is damaged and another is used, and when config.yaml, or the files that the task reads,
    are no longer what the checkpoint was trained with. Raises BadInput where there is no run, no sound checkpoint, or one of
    another model; nothing is written.
    """
    path = find_run(Path(run))
    chosen = choose_device(str(device))
    folder = best_checkpoint(path, warn)
    config = RunDir(path).config()
    facts = checkpoint.facts(folder)
    if changed := differences(facts["config"], config.to_dict(), known_only=True):
        warn(f"{path / 'config.yaml'} is not what {folder.name} was trained with: {'; '.join(changed)}")
    task = build_task(config)
    trained_on = facts["fingerprint"].get("data")
    if trained_on is not None and trained_on != task.origin:
        warn(f"{path}: the files that the task {config.task.name} reads are no longer those of the training")
    loaded = checkpoint.load(folder, state=False)
    model = build_model(config, task)
    load_weights(model, loaded.model, folder)
    leak = leaks(config, task, model) or bool(RunDir(path).facts().get("leak"))
    return RecordedRun(path, config, task, model.to(chosen).eval(), loaded.step, folder, leak)


def best_checkpoint(run: Path, warn: Callable[[str], None]) -> Path:
    """The best checkpoint of a run by its own record, or its newest sound one. Raises BadInput where there is none."""
    checkpoints = run / "checkpoints"
    folders = [folder_of(checkpoints, step) for step in reversed(saved_steps(checkpoints))]
    sound = [folder for folder in folders if problem_of(folder) is None]
    if folders and not sound:
        raise BadInput(
            f"{run}: no sound checkpoint; {folders[0].name} is damaged ({problem_of(folders[0])})",
            fix="restore it from a copy, or train anew",
        )
    if not sound:
        raise BadInput(f"{run}: no sound checkpoint", fix="train it first: lot run --resume --run-dir DIR")
    if sound[0] != folders[0]:  # it knew which one is the best; an older one knows only how that stood then
        problem = problem_of(folders[0])
        warn(f"the newest checkpoint ({folders[0].name}) is damaged ({problem}); the best is that by {sound[0].name}")
    best = checkpoint.facts(sound[0])["best"]["step"]
    if best is None:
        return sound[0]
    folder = folder_of(checkpoints, best)
    if folder in sound:
        return folder
    warn(f"the best checkpoint ({folder.name}) is missing or damaged; using {sound[0].name}")
    return sound[0]
