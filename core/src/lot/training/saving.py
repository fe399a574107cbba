"""Saving a run and restoring it: which checkpoints are written, kept, trusted, resumed and tested."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from lot.config.compare import differences, require_none
from lot.config.schema import Config
from lot.errors import BadInput
from lot.runs.directory import METRICS, RunDir, log_digest
from lot.storage import checkpoint
from lot.storage.folder import folder_of, latest_sound, link_to, problem_of, prune, saved_steps, set_aside
from lot.training.best_validation import BestValidation
from lot.training.parallel import Parallel
from lot.training.progress import Progress, share_of_sums


class Saving:
    """The checkpoints of a run. Under torchrun every process has one of these, and they go in step."""

    def __init__(
        self,
        run: RunDir,
        config: Config,
        parallel: Parallel,
        optimizer: torch.optim.Optimizer,
        fingerprint: dict[str, Any],
        warn: Callable[[str], None],
    ) -> None:
        """fingerprint: what the bits of the result depend on beside the configuration, kept with each checkpoint."""
        self.run, self.config, self.parallel, self.optimizer = run, config, parallel, optimizer
        self.team = parallel.team
        self.fingerprint, self.warn = fingerprint, warn

    def save(self, progress: Progress, log_lengths: tuple[int, int], log_sha256: str | None) -> Path:
        """Write the checkpoint of this step, then prune the older ones. Raises OSError in all processes.

        log_lengths: of metrics.jsonl and timing.jsonl in bytes, so that a resumed run cuts off what came later.
        log_sha256: the checksum of metrics.jsonl, which a resumed run compares.
        """
        state = {
            "optimizer": self.optimizer.state_dict(),
            "guard": progress.divergence.state_dict(),
            "sums": self.team.gather({name: value.cpu() for name, value in progress.sums.items()}),
            "best": progress.best.as_dict(),
            "log_bytes": log_lengths[0],
            "timing_bytes": log_lengths[1],
            "log_sha256": log_sha256,
            "config": self.config.to_dict(),
            "fingerprint": self.fingerprint,
        }
        folder = self.parallel.save(self.run.checkpoints, progress.step, state)
        self.team.lead(lambda: self.tidy(folder, progress.best.step))
        return folder

    def restore(self, progress: Progress) -> tuple[int, int] | None:
        """Load the newest sound checkpoint into model, optimizer and `progress`; the lengths of the logs at that step.

        None where the run was killed before its first checkpoint. Raises BadInput where it belongs to another
        configuration, and warns where the numerics or the data have changed.
        """
        chosen = self.team.lead(lambda: str(latest_sound(self.run.checkpoints, self.warn) or ""))
        if not chosen:
            return None
        folder = Path(chosen)
        origin = checkpoint.facts(folder)
        differing = differences(origin["config"], self.config.to_dict(), known_only=True)
        require_none(f"{folder} belongs to another configuration", differing)
        self.team.lead(lambda: self._check_log(folder, origin))
        loaded = self.parallel.load(folder, self.optimizer)
        state = loaded.state
        progress.divergence.load_state_dict(state["guard"])
        progress.sums = share_of_sums(state["sums"], self.team.rank, self.team.world, self.team.device)
        progress.best = BestValidation(**state["best"])
        progress.step = loaded.step
        self._tell_changes(state["fingerprint"], "resuming")
        self.team.lead(lambda: self.tidy(folder, progress.best.step))  # a kill may have come between saving and tidying
        return state["log_bytes"], state["timing_bytes"]

    def begin_from(self, folder: Path, progress: Progress) -> None:
        """Load the checkpoint of another run, of which this one is the extension: all but its best validation and its logs."""
        loaded = self.parallel.load(folder, self.optimizer)
        state = loaded.state
        progress.divergence.load_state_dict(state["guard"])
        progress.sums = share_of_sums(state["sums"], self.team.rank, self.team.world, self.team.device)
        progress.step = loaded.step
        self._tell_changes(state["fingerprint"], "going on")

    def load_best(self, progress: Progress) -> int:
        """Put the weights of the best checkpoint into the model; the step of the weights that are there then.

        A damaged one is set aside with a warning, and the last weights stay.
        """
        best = progress.best.step
        if best is None or best == progress.step:
            return progress.step
        folder = folder_of(self.run.checkpoints, best)
        problem = self.team.lead(lambda: problem_of(folder))
        if problem is not None:
            aside = self.team.lead(lambda: set_aside(folder).name) if folder.exists() else "nothing, it is gone"
            self.warn(
                f"the best checkpoint, {folder.name}, is damaged ({problem}); set aside as {aside}; "
                f"testing the last weights instead"
            )
            return progress.step
        self.parallel.load(folder)
        return best

    def last_good(self) -> str:
        """The last checkpoint, for a message."""
        found = saved_steps(self.run.checkpoints)
        if not found:
            return "there is no checkpoint yet"
        return f"the last good checkpoint is {folder_of(self.run.checkpoints, found[-1])}"

    def how_to_resume(self) -> str:
        """The command that goes on from the last checkpoint, for a message."""
        return f"continue with: lot run --resume --run-dir {shlex.quote(str(self.run.path))}"

    def _tell_changes(self, recorded: dict[str, Any], what: str) -> None:
        changed = [
            f"{key} was {was!r}, is {self.fingerprint.get(key)!r}"
            for key, was in recorded.items()
            if was != self.fingerprint.get(key)
        ]
        if changed:
            self.warn(f"{what} on other numerics or data, so bits may differ: {'; '.join(changed)}")

    def _check_log(self, folder: Path, saved: dict[str, Any]) -> None:
        """Refuse to go on after a log that is not what it was when the checkpoint was written."""
        log = self.run.path / METRICS
        wanted = saved.get("log_sha256")  # absent from checkpoints of earlier versions
        if wanted is None or log_digest(log, saved["log_bytes"]) == wanted:
            return
        if not log.exists():
            self.warn(
                f"{log} is gone: its rows up to step {folder.name.removeprefix('step_').lstrip('0') or 0} are lost"
            )
            return
        raise BadInput(
            f"{log}: damaged, or changed since {folder.name} was written",
            fix="restore it from a copy, or remove it to go on without the earlier rows",
        )

    def tidy(self, newest: Path, best: int | None) -> None:
        """Set the links for people, and remove the checkpoints that the configuration does not keep."""
        link_to(self.run.path / "last", newest)
        if best is not None:
            link_to(self.run.path / "best", folder_of(self.run.checkpoints, best))
        prune(self.run.checkpoints, self.config.train.keep, best)
