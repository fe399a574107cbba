"""A new run that goes on from another one's checkpoint: what may change, and what is recorded of the parent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lot.config.compare import FREE, leaves
from lot.config.schedule import learning_rate_factor
from lot.config.schema import Config
from lot.errors import BadInput
from lot.runs.directory import RunDir
from lot.runs.load import BEST, checkpoint_at, named_run
from lot.storage.folder import MANIFEST, digest_of, folder_of, problem_of, saved_steps

CHANGEABLE = FREE | {
    f"train.{name}"
    for name in (
        *("steps", "warmup", "decay", "min_lr_ratio"),
        *("batch_size", "accumulate"),
        *("log_every", "eval_every", "eval_examples", "save_every", "keep", "early_stop"),
    )
}
"""Keys that an extension may change, beside learning rates of the optimizer (`lr`, `..._lr`), diagnostics and recorders."""
JUMP = 0.01
"""Relative change of the learning rate from which on it is told."""


@dataclass(frozen=True)
class Parent:
    """The checkpoint that a run goes on from.

    path: of the run, absolute. step: optimizer steps that it has made there. sha256: of the manifest of the checkpoint, which
    has the checksums of all its files. tested: whether the parent, or a run that it went on from, has measured
    its test split.
    """

    path: str
    step: int
    sha256: str
    tested: bool

    @property
    def folder(self) -> Path:
        """The checkpoint."""
        return folder_of(Path(self.path) / "checkpoints", self.step)

    @property
    def config(self) -> Config:
        """The configuration of the parent."""
        return RunDir(Path(self.path)).config()

    def as_dict(self) -> dict[str, Any]:
        """What run.json keeps."""
        return asdict(self)

    def require_unchanged(self) -> None:
        """Raise BadInput unless the checkpoint is still the one that was recorded."""
        fix = "bring it back, or begin the new run again in another directory"
        if not (self.folder / MANIFEST).is_file():
            raise BadInput(f"{self.folder}: the checkpoint that this run goes on from is gone", fix=fix)
        if problem_of(self.folder) is not None or digest_of(self.folder / MANIFEST)["sha256"] != self.sha256:
            raise BadInput(f"{self.folder}: no longer the checkpoint that this run goes on from", fix=fix)

    def jump(self, config: Config) -> str | None:
        """A line about how the learning rate changes where the new run begins, or None where it goes on as it was."""
        before, after = _rate(self.config, self.step), _rate(config, self.step)
        if abs(after - before) <= JUMP * max(before, after):
            return None
        return f"the learning rate jumps at step {self.step}: {before:.3g} in the parent, {after:.3g} here (optim.lr x schedule)"


def parent_of(run: str | Path, warn: Callable[[str], None]) -> Parent:
    """The newest sound checkpoint of a run (or the very one whose folder `run` is). Raises BadInput where there is none."""
    path, step = named_run(Path(run), BEST)
    if step is None:
        step = _newest(path, warn)
    folder = checkpoint_at(path, step)
    result, earlier = RunDir(path).result() or {}, recorded_parent(path)
    tested = result.get("split") == "test" or (earlier is not None and earlier.tested)
    return Parent(str(path.resolve()), step, digest_of(folder / MANIFEST)["sha256"], tested)


def recorded_parent(run: Path) -> Parent | None:
    """The parent that the run.json of an extension has, or None for any other run. Raises BadInput where it is damaged."""
    recorded = RunDir(run).facts().get("parent")
    if recorded is None:
        return None
    try:
        parent = Parent(**recorded)
        if not (isinstance(parent.path, str) and isinstance(parent.step, int) and isinstance(parent.sha256, str)):
            raise TypeError("a text and a number were expected")
    except TypeError as error:
        raise BadInput(f"{run / 'run.json'}: damaged (parent: {error})", fix="restore it from a copy") from None
    return parent


def check_extension(parent: Parent, config: Config) -> None:
    """Raise BadInput, which names them, where `config` changes what an extension may not change, or leaves no step to make."""
    ours, theirs = dict(leaves(config.to_dict())), dict(leaves(parent.config.to_dict()))
    changed = sorted(key for key in ours.keys() | theirs.keys() if ours.get(key, "absent") != theirs.get(key, "absent"))
    refused = [key for key in changed if not _changeable(key)]
    if refused:
        told = [f"{key} is {ours.get(key, 'absent')!r}, was {theirs.get(key, 'absent')!r}" for key in refused[:5]]
        more = f" and {len(refused) - 5} more" if len(refused) > 5 else ""
        raise BadInput(
            f"an extension cannot change {'; '.join(told)}{more}",
            fix="it may change steps, learning rate and its schedule, batch, logging and diagnostics; "
            "--init-from begins a new training from these weights",
        )
    if config.train.steps <= parent.step:
        raise BadInput(
            where="train.steps", expected=f"more than the {parent.step} that are done", got=config.train.steps
        )


def _changeable(key: str) -> bool:
    section, _, name = key.partition(".")
    rate = section == "optim" and (name == "lr" or name.endswith("_lr"))
    return key in CHANGEABLE or rate or section in ("diagnostics", "recorders")


def _newest(path: Path, warn: Callable[[str], None]) -> int:
    steps = saved_steps(path / "checkpoints")
    for step in reversed(steps):
        problem = problem_of(folder_of(path / "checkpoints", step))
        if problem is None:
            return step
        warn(f"checkpoint {step} of {path} is damaged ({problem}); going on from the one before it")
    raise BadInput(f"{path}: no sound checkpoint to go on from", fix="train it first, or name another run")


def _rate(config: Config, step: int) -> float:
    """The peak learning rate under the schedule at `step`; beyond the end of the run, that of its last step."""
    s = config.train
    at = min(step, s.steps - 1) if s.steps else 0
    factor = learning_rate_factor(at, s.steps, s.warmup, s.decay, s.min_lr_ratio)
    return float(getattr(config.optim.options, "lr", 1.0)) * factor
