"""Recorders at work: each has a thread and a queue of its own, so that none can stop the run, or make it wait."""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from lot.config.schema import Config
from lot.contracts import Recorder, Recording
from lot.errors import LotError
from lot.plugins.discovery import reason
from lot.runs.directory import RunDir
from lot.storage.files import make_folder, read_json, write_json

FOLDER = "recorders"
"""Of a run: what recorders that are final keep there, one JSON file each."""
MOST = 10_000
"""Rows that may wait for a recorder; one that is further behind is given up."""
PATIENCE = {"complete": 30.0, "failed": 5.0, "interrupted": 5.0}
"""Seconds that the end of a run waits for its recorders."""


class Recorders:
    """The recorders of a run. Before `open`, and so in every process but the main one, nothing happens."""

    def __init__(self, run: RunDir, recorders: Mapping[str, Recorder]) -> None:
        self._run, self._recorders = run, recorders
        self._workers: list[_Worker] = []

    @property
    def want_pictures(self) -> bool:
        """Whether one of them wants the pictures of the diagnostics."""
        return any(worker.recorder.pictures for worker in self._workers)

    def open(self, config: Config, *, leak: bool, step: int, resumed: bool, rows: int) -> None:
        """Let all of them begin. rows: of the log so far; the others as in `Recording`."""
        whole = self._run.path.resolve()
        title = "/".join(whole.parts[-2:]) if whole.name.startswith("version_") else whole.name
        for name, recorder in self._recorders.items():
            plain = config.to_dict()  # one each, for a recorder may change it
            recording = Recording(self._run.path, title, plain, leak, step, resumed, rows, 0, {})
            self._workers.append(_Worker(name, recorder, self._run, recording))

    def write(self, row: Mapping[str, Any], speed: float | None = None) -> None:
        """Give a row of the log to all. speed: tokens per second over the steps of the row, where it is one of training."""
        self._tell(lambda worker: worker.give(row, speed))

    def result(self, split: str, step: int, metrics: Mapping[str, float]) -> None:
        """Give the final metrics to all."""
        self._tell(lambda worker: worker.recorder.result(split, step, dict(metrics)))

    def picture(self, name: str, step: int, png: bytes) -> None:
        """Give a picture to those that want it."""
        for worker in self._workers:
            if worker.recorder.pictures:
                worker.do(lambda recorder=worker.recorder: recorder.picture(name, step, png))  # type: ignore[misc]

    def flush(self) -> None:
        """A checkpoint was written: what came before it is to outlive this process."""
        self._tell(lambda worker: worker.recorder.flush())

    def close(self, state: str) -> None:
        """Let all of them end, and wait for that, but not for ever. Again: nothing happens."""
        workers = [worker for worker in self._workers if worker.end(state)]
        deadline = time.monotonic() + PATIENCE[state]
        for worker in workers:
            worker.wait(deadline - time.monotonic(), PATIENCE[state])

    def troubles(self) -> list[str]:
        """What went wrong since this was last asked, one line each: no recorder is told twice."""
        found = []
        for worker in self._workers:
            if worker.trouble is not None and not worker.told:
                worker.told = True
                found.append(
                    f"recorder {worker.name}: {worker.trouble}; {self._run.path / 'metrics.jsonl'} has every row"
                )
        return found

    def _tell(self, job: Callable[[_Worker], None]) -> None:
        for worker in self._workers:
            worker.do(lambda worker=worker: job(worker))  # type: ignore[misc]


class _Worker:
    """A recorder and its thread. trouble: why it has stopped, or None. told: whether that was passed on."""

    def __init__(self, name: str, recorder: Recorder, run: RunDir, recording: Recording) -> None:
        self.name, self.recorder = name, recorder
        self.trouble: str | None = None
        self.told = False
        self._run, self._recording = run, recording
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._state: str | None = None  # in which the run has ended
        self._seen = 0  # rows of the run so far, given here or not
        self._held = 0  # rows that the recorder had
        self._thread = threading.Thread(target=self._work, daemon=True, name=f"lot-recorder-{name}")
        self._thread.start()

    def do(self, job: Callable[[], None]) -> None:
        """Do `job` in the thread, after what is waiting there."""
        if self.trouble is not None or self._state is not None:
            return
        if self._jobs.qsize() > MOST:
            self.trouble = f"left out from here on, for it is {MOST} rows behind"
            return
        self._jobs.put(job)

    def give(self, row: Mapping[str, Any], speed: float | None) -> None:
        """Count a row, and write it unless the recorder has it already. In the thread."""
        self._seen += 1
        if self._seen <= self._held:
            return
        if self.recorder.final:
            self._keep(self._seen)  # before: a kill between the two may lose a row, and never doubles one
        step = row["step"]
        self.recorder.write(row.get("diagnostic") or row["split"], step, _numbers(row))
        if speed is not None:
            self.recorder.write("speed", step, {"tokens_per_second": speed})

    def end(self, state: str) -> bool:
        """Ask the thread to end after what is waiting; False where it was asked before."""
        if self._state is not None:
            return False
        self._state = state
        self._jobs.put(None)
        return True

    def wait(self, seconds: float, patience: float) -> None:
        """Wait until the thread has ended."""
        self._thread.join(max(0.0, seconds))
        if self._thread.is_alive() and self.trouble is None:
            self.trouble = f"not finished {patience:g} seconds after the run; what it was to send may be incomplete"

    def _work(self) -> None:
        try:
            self._open()
            while (job := self._jobs.get()) is not None and self.trouble is None:
                job()
            self.recorder.close(self._state or "failed")
        except (Exception, SystemExit) as error:
            told = str(error) if isinstance(error, LotError) else reason(error)
            self.trouble = f"left out from here on ({told})"
            try:
                self.recorder.close("failed")
            except (Exception, SystemExit):
                return  # what it could not do is told

    def _open(self) -> None:
        given, kept = self._kept() if self.recorder.final else (0, {})
        self._recording = recording = replace(self._recording, given=given, kept=kept)
        self._held = self.recorder.open(recording)
        if self.recorder.final:
            self._keep(given)
        if self._held >= recording.rows:
            self._seen = recording.rows
            return
        speeds = {row["step"]: row.get("tokens_per_second") for row in self._run.rows("timing.jsonl")}
        for row in islice(self._run.rows(), recording.rows):
            self.give(row, speeds.get(row["step"]) if row.get("split") == "train" else None)

    @property
    def _file(self) -> Path:
        return self._run.path / FOLDER / f"{self.name.replace(':', '-')}.json"

    def _kept(self) -> tuple[int, dict[str, Any]]:
        """What an earlier process of this run has left: rows that were given, and what the recorder keeps."""
        table = read_json(self._file)
        if table is None:
            return 0, {}
        match table:
            case {"rows": int(rows), "kept": dict(kept)}:
                return rows, kept
        raise ValueError(f"{self._file}: damaged; remove it to begin a new record")

    def _keep(self, rows: int) -> None:
        make_folder(self._run.path, FOLDER)
        write_json(self._file, {"rows": rows, "kept": self._recording.kept})


def _numbers(row: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a row by name; null, which stands in a log for one that is not finite, as NaN."""
    values = {key: math.nan if value is None else value for key, value in row.items() if key != "step"}
    return {key: value for key, value in values.items() if isinstance(value, (int, float))}
