"""A recorded run, loaded back: its configuration, its task, and its model with the weights of a checkpoint."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from lot.config.compare import differences
from lot.config.schema import Config
from lot.contracts import Model, Task
from lot.devices.device import choose_device
from lot.errors import BadInput
from lot.model.build import build_model, leaks, rebuild_task
from lot.runs.directory import RunDir, find_run
from lot.runs.environment import model_origin
from lot.runs.shown import Shown, Table
from lot.storage import checkpoint as storage
from lot.storage.assets import read_assets
from lot.storage.checkpoint import load_weights
from lot.storage.folder import FOLDER_NAME, folder_of, problem_of, saved_steps

BEST, LAST = "best", "last"


@dataclass(frozen=True, repr=False)
class RecordedRun(Shown):
    """A recorded run with the model of one of its checkpoints.

    path: the run directory. config, task: what it was trained with. model: in evaluation mode, on the device that was
    asked for, as it was after optimizer step `step`. checkpoint: the folder that its weights come from. leak: whether it
    was trained to see what it is asked to predict, as it declares or as the run measured. trained_on: the digest of the
    files that its data came from, or None (see `Task.origin`); origin: that of the task when it was loaded.
    """

    path: Path
    config: Config
    task: Task
    model: Model
    step: int
    checkpoint: Path
    leak: bool
    trained_on: str | None = None
    origin: str | None = None

    def table(self) -> Table:
        """What the run is."""
        rows = [
            ("task", self.config.task.name),
            (
                "attention",
                ", ".join(dict.fromkeys(chosen.name for chosen in self.config.attentions.values())) or "its own",
            ),
            ("model", f"{self.config.model.name}, {sum(p.numel() for p in self.model.parameters()):,} parameters"),
            ("seed", str(self.config.seed)),
            ("weights", f"after step {self.step:,}, of {self.checkpoint}"),
        ]
        return Table(str(self.path), rows, leak=self.leak)

    def check_data(self, warn: Callable[[str], None]) -> None:
        """Warn where the task has since read other files than those of the training: for when it has read what is needed."""
        if self.task.origin != self.origin and self.trained_on not in (None, self.task.origin):
            warn(other_data(self.path, self.config))


def other_data(path: Path, config: Config) -> str:
    """The warning where the data are not those of the training."""
    return f"{path}: the files that the task {config.task.name} reads are no longer those of the training"


def other_model(path: Path, config: Config) -> str:
    """The warning where the model is made from other files than that of the training."""
    return (
        f"{path}: the files that the model {config.model.name} is made from are no longer those of the training: "
        "it may compute something else"
    )


def load_run(
    run: str | Path,
    *,
    device: str | torch.device = "auto",
    checkpoint: str | int = BEST,
    data: str | Path | None = None,
    warn: Callable[[str], None] = lambda text: None,
) -> RecordedRun:
    """The run at `run` (a run directory, or a folder of versions: the newest is taken) with its best model on `device`.

    checkpoint: `best`, `last`, or the step of another checkpoint; `run` may also be the folder of one. data: a file in place
    of the one that the task reads. The files of the training need not be there: the run keeps what its model needs of them,
    and its task reads them when it is asked for a batch. Nor need those that its model was made from.

    warn: told when the best checkpoint is damaged and another is used, and when config.yaml, or the files that the task reads,
    are no longer what the checkpoint was trained with. Raises BadInput where there is no run, no sound checkpoint, or one of
    another model; nothing is written.
    """
    path, named = named_run(Path(run), checkpoint)
    chosen = choose_device(str(device))
    folder = best_checkpoint(path, warn) if named is None else checkpoint_at(path, named)
    config = RunDir(path).config()
    facts = storage.facts(folder)
    if changed := differences(facts["config"], config.to_dict(), known_only=True):
        warn(f"{path / 'config.yaml'} is not what {folder.name} was trained with: {'; '.join(changed)}")
    task = rebuild_task(config, read_assets(path), None if data is None else Path(data))
    loaded = storage.load(folder, state=False)
    model = build_model(config, task)
    load_weights(model, loaded.model, folder)
    leak = leaks(config, task, model) or bool(RunDir(path).facts().get("leak"))
    trained_on = facts["fingerprint"].get("data")
    if trained_on not in (None, task.origin):
        warn(other_data(path, config))
    origin = model_origin(config)
    if config.model.kept is None and facts["fingerprint"].get("model", origin) != origin:
        warn(other_model(path, config))
    model = model.to(chosen).eval()
    return RecordedRun(path, config, task, model, loaded.step, folder, leak, trained_on, task.origin)


def named_run(run: Path, checkpoint: str | int = BEST) -> tuple[Path, int | None]:
    """The directory of the run that is meant, and the step of the checkpoint; None: the best one.

    run: also the folder of a checkpoint, or the link `best` or `last`. Raises BadInput where there is no run, and where
    `run` and `checkpoint` name two.
    """
    folder = run.resolve()
    match = FOLDER_NAME.match(folder.name)
    if match is not None and (folder.parent.parent / "config.yaml").is_file():
        if checkpoint not in (BEST, int(match[1]), match[1]):
            raise BadInput(where="--checkpoint", expected=f"none beside {run}", got=checkpoint)
        return folder.parent.parent, int(match[1])
    path = find_run(run)
    if checkpoint == BEST:
        return path, None
    if checkpoint == LAST:
        steps = saved_steps(path / "checkpoints")
        if not steps:
            raise _untrained(path)
        return path, steps[-1]
    if isinstance(checkpoint, str):
        text = checkpoint.removeprefix("step_")
        if not text.isdecimal():
            raise BadInput(where="--checkpoint", expected="best, last or a step", got=repr(checkpoint))
        checkpoint = int(text)
    return path, checkpoint


def checkpoint_at(run: Path, step: int) -> Path:
    """The sound checkpoint of a step. Raises BadInput where there is none."""
    folder = folder_of(run / "checkpoints", step)
    if not folder.is_dir():
        steps = ", ".join(map(str, saved_steps(run / "checkpoints"))) or "none"
        raise BadInput(where="--checkpoint", expected=f"a step that has one ({steps})", got=step)
    if (problem := problem_of(folder)) is not None:
        raise BadInput(f"{folder}: damaged ({problem})", fix="restore it from a copy, or choose another checkpoint")
    return folder


def _untrained(run: Path) -> BadInput:
    go_on = f"lot run --resume --run-dir {shlex.quote(str(run))}"
    if (run / "metrics.json").exists():
        return BadInput(
            f"{run}: no sound checkpoint, though the run is complete",
            fix=f"restore its folder checkpoints from a copy; or remove its metrics.json, and {go_on} trains it anew",
        )
    return BadInput(f"{run}: no sound checkpoint", fix=f"train it first: {go_on}")


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
        raise _untrained(run)
    if sound[0] != folders[0]:  # it knew which one is the best; an older one knows only how that stood then
        problem = problem_of(folders[0])
        warn(f"the newest checkpoint ({folders[0].name}) is damaged ({problem}); the best is that by {sound[0].name}")
    best = storage.facts(sound[0])["best"]["step"]
    if best is None:
        return sound[0]
    folder = folder_of(checkpoints, best)
    if folder in sound:
        return folder
    warn(f"the best checkpoint ({folder.name}) is missing or damaged; using {sound[0].name}")
    return sound[0]
