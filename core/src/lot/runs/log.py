"""What a run writes while it goes: metrics.jsonl, timing.jsonl and TensorBoard."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from lot.runs.directory import METRICS, RunDir


class RunLog:
    """The logs of a run, which the main process opens. Timings have a file of their own: metrics.jsonl repeats bit for bit."""

    def __init__(self, run: RunDir) -> None:
        self._run = run
        self._metrics: Log | None = None
        self._timing: Log | None = None
        self._board: Any = None

    def open(self, step: int, offsets: tuple[int, int] | None) -> None:
        """Open the logs. offsets: of a resumed run, their lengths as its checkpoint at `step` knew them; the rest is cut."""
        from tensorboardX import SummaryWriter

        metrics, timing = (0, 0) if offsets is None else offsets
        self._metrics = Log(self._run.path / METRICS, metrics)
        self._timing = Log(self._run.path / "timing.jsonl", timing)
        if (
            offsets is None
        ):  # events of a run that was killed before its first checkpoint would be drawn beside the new ones
            for events in self._run.path.glob("events.out.tfevents*"):
                events.unlink()
        self._board = SummaryWriter(str(self._run.path), purge_step=None if offsets is None else step + 1)

    def write(self, group: str, row: dict[str, Any]) -> None:
        """Append a row to metrics.jsonl, and its numbers to TensorBoard under `group`."""
        assert self._metrics is not None
        self._metrics.write(row)
        self._draw(group, row)

    def write_timing(self, row: dict[str, Any]) -> None:
        """Append a row to timing.jsonl."""
        assert self._timing is not None
        self._timing.write(row)
        self._draw("speed", {"step": row["step"], "tokens_per_second": row["tokens_per_second"]})

    def offsets(self) -> tuple[int, int]:
        """The lengths of both logs in bytes, all of which is on the disk when this returns."""
        assert self._metrics is not None
        assert self._timing is not None
        return self._metrics.offset(), self._timing.offset()

    def digest(self) -> str:
        """The sha256 of metrics.jsonl as it is now."""
        assert self._metrics is not None
        return self._metrics.digest()

    def close(self) -> None:
        """Close what is open."""
        for writer in (self._metrics, self._timing, self._board):
            if writer is not None:
                writer.close()
        self._metrics = self._timing = self._board = None

    def _draw(self, group: str, row: dict[str, Any]) -> None:
        for key, value in row.items():
            if key != "step" and isinstance(value, (int, float)):
                self._board.add_scalar(f"{group}/{key}", value, row["step"])


class Log:
    """A file of JSON lines that can be taken back to an earlier length."""

    def __init__(self, path: Path, offset: int | None) -> None:
        """Open `path` for appending, cut to `offset` bytes (None: as long as it is).

        A file that has lost its end is cut after its last whole line.
        """
        if offset is not None and path.exists() and path.stat().st_size < offset:
            offset = path.read_bytes().rfind(b"\n") + 1
        self._file = path.open("ab")
        if offset is not None:
            self._file.truncate(min(offset, self._file.tell()))  # truncating beyond the end would fill up with zeros
        self._sha256 = hashlib.sha256(path.read_bytes())

    def write(self, row: dict[str, Any]) -> None:
        """Append a row; a value that is not finite is written as null, since JSON has no NaN."""
        finite = {key: None if isinstance(value, float) and not _finite(value) else value for key, value in row.items()}
        line = json.dumps(finite, allow_nan=False).encode() + b"\n"
        self._file.write(line)
        self._file.flush()
        self._sha256.update(line)

    def offset(self) -> int:
        """The length in bytes, all of which is on the disk when this returns."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._file.seek(0, os.SEEK_END)

    def digest(self) -> str:
        """The sha256 of all that is in the file."""
        return self._sha256.hexdigest()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _finite(value: float) -> bool:
    return value == value and value not in (float("inf"), float("-inf"))
