"""What a run writes while it goes: metrics.jsonl and timing.jsonl."""

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

    def open(self, offsets: tuple[int, int] | None) -> int:
        """Open the logs; the rows of metrics.jsonl. offsets: of a resumed run, their lengths as its checkpoint knew them;
        the rest is cut."""
        metrics, timing = (0, 0) if offsets is None else offsets
        self._metrics = Log(self._run.path / METRICS, metrics)
        self._timing = Log(self._run.path / "timing.jsonl", timing)
        return self._metrics.rows

    def write(self, row: dict[str, Any]) -> None:
        """Append a row to metrics.jsonl."""
        assert self._metrics is not None
        self._metrics.write(row)

    def write_timing(self, row: dict[str, Any]) -> None:
        """Append a row to timing.jsonl."""
        assert self._timing is not None
        self._timing.write(row)

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
        for log in (self._metrics, self._timing):
            if log is not None:
                log.close()
        self._metrics = self._timing = None


class Log:
    """A file of JSON lines that can be taken back to an earlier length. rows: lines that it had when it was opened."""

    def __init__(self, path: Path, offset: int | None) -> None:
        """Open `path` for appending, cut to `offset` bytes (None: as long as it is).

        A file that has lost its end is cut after its last whole line.
        """
        if offset is not None and path.exists() and path.stat().st_size < offset:
            offset = path.read_bytes().rfind(b"\n") + 1
        self._file = path.open("ab")
        if offset is not None:
            self._file.truncate(min(offset, self._file.tell()))  # truncating beyond the end would fill up with zeros
        content = path.read_bytes()
        self._sha256, self.rows = hashlib.sha256(content), content.count(b"\n")

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
