"""A disk that is full from some file event on: exit code 3 with the last good checkpoint, and later the very same result.

The events are those that reach the disk: a file or folder that is made, synced, renamed or removed in the run's directory.
"""

from __future__ import annotations

import builtins
import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import Lot, refused, sets

from faults.rounds import LONG, ROUNDS, fresh

RUN = ["run", "--attn", "lattice", "--task", "copy_reverse", *sets(), "--run-dir", "x"]


class Disk:
    """Counts the file events in a folder, and fails them from one on."""

    def __init__(self, patch: pytest.MonkeyPatch, folder: Path) -> None:
        self.folder, self.events, self.full_at = str(folder), 0, -1
        for name in ("fsync", "replace", "rename", "mkdir"):
            patch.setattr(os, name, self._watched(getattr(os, name)))
        self._open = builtins.open
        patch.setattr(builtins, "open", self._watched_open)
        import io

        patch.setattr(io, "open", self._watched_open)

    def _event(self, path: Any) -> None:
        if isinstance(path, int):
            path = os.readlink(f"/proc/self/fd/{path}") if Path("/proc/self/fd").exists() else self.folder
        if not os.path.abspath(os.fspath(path)).startswith(self.folder):
            return
        self.events += 1
        if 0 <= self.full_at <= self.events:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    def _watched(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def watched(path: Any, *arguments: Any, **options: Any) -> Any:
            self._event(path)
            return original(path, *arguments, **options)

        return watched

    def _watched_open(self, file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        if isinstance(file, (str, os.PathLike)) and set(mode) & set("wax+"):
            self._event(file)
        return self._open(file, mode, *arguments, **options)


def outcome(run: Path) -> dict[str, bytes]:
    """What must be equal: the log, the metrics and what was measured."""
    files = [run / "metrics.jsonl", run / "metrics.json", *sorted((run / "snapshots").rglob("*.safetensors"))]
    return {str(file.relative_to(run)): file.read_bytes() for file in files}


def test_a_disk_that_fills_up_at_any_event(lot: Lot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = fresh()
    with monkeypatch.context() as patch:
        disk = Disk(patch, tmp_path / "x")
        assert lot(*RUN).returncode == 0
    expected, events = outcome(tmp_path / "x"), disk.events
    assert events > 40
    moments = range(1, events + 1) if LONG else sorted(rng.sample(range(2, events + 1), 5 * ROUNDS))
    for moment in moments:
        (tmp_path / "x").rename(tmp_path / f"before-{moment}")
        with monkeypatch.context() as patch:
            disk = Disk(patch, tmp_path / "x")
            disk.full_at = moment
            done = lot(*RUN)
        assert done.returncode in (2, 3), f"full at event {moment}: {done.stderr}"
        refused(done, "No space left on device", code=done.returncode)
        assert not list((tmp_path / "x").rglob("*.tmp")), f"full at event {moment}: temporary files are left"
        again = lot(*RUN, "--resume") if (tmp_path / "x/config.yaml").exists() else lot(*RUN)
        assert again.returncode == 0, f"full at event {moment}: {again.stderr}"
        assert outcome(tmp_path / "x") == expected, f"full at event {moment}"
