"""What a run tells while it goes: rows of its logs, its recorders, its status file, events to the caller of `lot.train`.

The loop says what happened; where it is written, and in which words, is decided here.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from lot.config.schema import Config
from lot.contracts import Recorder
from lot.runs.directory import RunDir
from lot.runs.log import RunLog
from lot.training.events import Report
from lot.training.progress import Progress
from lot.training.recording import Recorders


class Reporter:
    """The logs, the recorders, the status and the events of a run.

    What writes to the run directory is called in the main process alone (by `team.lead`, so that all processes
    fail together); `report` tells nothing in the others.
    """

    def __init__(self, run: RunDir, report: Report, steps: int, recorders: Mapping[str, Recorder]) -> None:
        """steps: optimizer steps that the run is to make."""
        self.run, self.report, self.steps = run, report, steps
        self.log, self.recorders = RunLog(run), Recorders(run, recorders)
        self._clock = (time.perf_counter(), 0)

    def open(self, config: Config, leak: bool, step: int, offsets: tuple[int, int] | None) -> None:
        """Open the logs, cut to the `offsets` in bytes of a checkpoint that is resumed, and say that the run runs."""
        rows = self.log.open(offsets)
        self.recorders.open(config, leak=leak, step=step, resumed=offsets is not None, rows=rows)
        self.run.set_status("running", exit_code=None, step=step, steps=self.steps, message="")

    def warn(self, step: int, text: str) -> None:
        """Tell what the user should know and may act on."""
        self.report("warning", {"step": step, "text": text})

    def start_clock(self, step: int) -> None:
        """Training begins, or goes on, now."""
        self._clock = (time.perf_counter(), step)

    def train_row(self, row: dict[str, Any], tokens_per_step: int, device: torch.device) -> None:
        """A row of the training log, and how fast the steps since the last row were."""
        step = row["step"]
        now, (then, from_step) = time.perf_counter(), self._clock
        self._clock = (now, step)
        tokens = tokens_per_step * (step - from_step)
        speed: dict[str, Any] = {"step": step, "seconds": now - then, "tokens_per_second": tokens / (now - then)}
        if device.type == "cuda":
            speed["peak_memory_bytes"] = torch.cuda.max_memory_allocated(device)
        self._write(row, speed["tokens_per_second"])
        self.log.write_timing(speed)
        self.run.set_status("running", step=step, steps=self.steps)
        self.report("log", {**row, **speed})

    def validation(self, step: int, metrics: dict[str, float], best: bool) -> None:
        """The metrics of a validation; best: whether it is the best so far."""
        self._write({"step": step, "split": "validation", **metrics})
        self.report("validation", {"step": step, "best": best, **metrics})

    def diagnostic(self, name: str, step: int, headline: str | None, scalars: dict[str, float]) -> None:
        """The scalars that a diagnostic measured."""
        self._write({"step": step, "diagnostic": name, **scalars})
        self.report("diagnostic", {"step": step, "name": name, "headline": headline, **scalars})

    def saved(self, progress: Progress, folder: Path) -> None:
        """A checkpoint was written."""
        self.recorders.flush()
        self.run.set_status("running", step=progress.step, best_step=progress.best.step)
        self.report("checkpoint", {"step": progress.step, "path": str(folder)})

    def complete(
        self, split: str, tested: int, progress: Progress, metrics: dict[str, float], trust: dict[str, Any]
    ) -> None:
        """Write metrics.json, by which the run is complete.

        tested: the step of the weights that were measured; they are the best ones unless the best checkpoint was damaged.
        trust: `leak`, and what the probes for leaks found.
        """
        log_sha256 = self.log.digest()
        self.log.close()
        self.run.set_status("complete", exit_code=0, step=progress.step, best_step=tested, message="")
        self.run.complete(
            {
                "split": split,
                "step": tested,
                "weights": "best" if tested == progress.best.step else "last",
                "steps": progress.step,
                **trust,
                "log_sha256": log_sha256,
                "metrics": {key: value if math.isfinite(value) else None for key, value in metrics.items()},
            }
        )
        self.recorders.result(split, tested, metrics)
        self._close_recorders("complete", progress.step)
        self.report("end", {"run": str(self.run.path), "metrics": metrics, "already": False, "leak": trust["leak"]})

    def ended(self, main: bool, state: str, exit_code: int, step: int, message: str) -> None:
        """Record why the run stopped before its end, as far as the disk still lets it. main: in the main process."""
        with contextlib.suppress(OSError):
            self.log.close()
        self._close_recorders(state, step)
        if main:
            with contextlib.suppress(OSError):
                self.run.set_status(state, exit_code=exit_code, step=step, message=message)

    def _write(self, row: dict[str, Any], speed: float | None = None) -> None:
        """Append a row to metrics.jsonl, and give it to the recorders."""
        self.log.write(row)
        self.recorders.write(row, speed)
        self._tell_troubles(row["step"])

    def _close_recorders(self, state: str, step: int) -> None:
        self.recorders.close(state)
        self._tell_troubles(step)

    def _tell_troubles(self, step: int) -> None:
        for text in self.recorders.troubles():
            self.warn(step, text)
