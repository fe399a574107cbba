"""The directory of a run: who may write, its state, its log."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import json
import os
import shlex
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import Timeout

from lot.errors import BadInput
from lot.runs.lock import RunLock
from lot.storage.contained import refuse_what_leads_out
from lot.storage.files import read_json, remove_leftovers, write_atomic, write_json
from lot.storage.folder import saved_steps

if TYPE_CHECKING:
    from lot.config.schema import Config


METRICS = "metrics.jsonl"
MOST_LOG = 1 << 30
"""Bytes of a log that are read; a row has some hundreds."""
_LARGEST = 1e300
"""No number of a run is larger; one that no float can hold would end what computes with it."""
_RESTORE = "restore it from a copy"
_STATUS: dict[str, tuple[type, ...]] = {
    "state": (str, type(None)),
    "message": (str, type(None)),
    "updated": (str, type(None)),
    "step": (int, type(None)),
    "steps": (int, type(None)),
    "best_step": (int, type(None)),
}
"""What status.json may hold under the keys that are read."""


class RunDir:
    """A run's directory, held by one process at a time.

    Files: config.yaml, run.json, assets/, model/, metrics.jsonl, timing.jsonl, test_examples.safetensors, metrics.json (written
    last: the run is complete), status.json, checkpoints/, snapshots/, recorders/, plots/, links `best` and `last`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.snapshots = path / "snapshots"
        self._lock = RunLock(path)
        self._status: dict[str, Any] = {}

    @property
    def name(self) -> str:
        """For people: the path as given."""
        return str(self.path)

    def acquire(self) -> None:
        """Become the one process that writes here.

        Raises BadInput where another process is that one, where the folder cannot be written, or where a link in it leads out.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            refuse_what_leads_out(self.path)
            self._lock.acquire()
        except Timeout:
            raise BadInput(
                f"{self.path} is in use by {self.holder()}",
                fix="wait for it, or choose another directory with --run-dir",
            ) from None
        except OSError as error:
            raise BadInput(
                f"{self.path}: cannot be written ({error.strerror})", fix="choose another directory with --run-dir"
            ) from None
        for folder in (self.path, self.checkpoints, *self.snapshots.glob("*"), self.path / "recorders"):
            if folder.is_dir():
                remove_leftovers(folder)

    def release(self) -> None:
        """Let others write here."""
        self._lock.release()

    def holder(self) -> str:
        """Who runs here, from status.json."""
        status = self.status()
        return f"process {status.get('pid', '?')} on {status.get('host', '?')}" if status else "another process"

    def in_use(self) -> bool:
        """Whether a process holds this directory. Asking keeps nobody from taking it."""
        return self._lock.held()

    def status(self) -> dict[str, Any]:
        """status.json, or {} where there is none that can be read."""
        with contextlib.suppress(BadInput):
            status = _read_table(self.path / "status.json") or {}
            if all(isinstance(status.get(key), kinds) for key, kinds in _STATUS.items()):
                return status
        return {}

    def state(self) -> str:
        """`new` (nothing was started), `complete` (it has its metrics.json), `failed`, `interrupted`, `running`, or, where no
        process holds the lock, `killed`; `unknown`, where status.json is damaged or says something else."""
        if (self.path / "metrics.json").exists():
            return "complete"
        if not (self.path / "config.yaml").exists():
            return "new"
        state = self.status().get("state")
        if state in ("failed", "interrupted"):
            return str(state)
        if self.in_use():
            return "running"
        unsaid = not (self.path / "status.json").exists()
        return "killed" if unsaid or state in ("running", "complete") else "unknown"

    def set_status(self, state: str, **facts: Any) -> None:
        """Write status.json: `state`, and facts that stay until they are changed."""
        self._status.update(facts, state=state, pid=os.getpid(), host=socket.gethostname(), updated=_now())
        write_json(self.path / "status.json", self._status)

    def config(self) -> Config:
        """The configuration of the run. Raises BadInput that names the file where it cannot be used.

        Once there is a checkpoint, the files that its model was made from are not needed.
        """
        from lot.config.load import load_config
        from lot.runs.kept_model import from_files, read_model

        file, kept = self.path / "config.yaml", read_model(self.path)
        try:
            config = load_config(file, kept=kept)
            return config if kept is None or saved_steps(self.checkpoints) else from_files(config, kept)
        except BadInput as error:
            told = str(error)
            raise BadInput(told if told.startswith(str(file)) else f"{file}: {told}") from None

    def facts(self) -> dict[str, Any]:
        """run.json, or {} where there is none. Raises BadInput where it is damaged."""
        return _read_table(self.path / "run.json") or {}

    def update_facts(self, facts: dict[str, Any]) -> None:
        """Put `facts` into run.json beside what is there."""
        write_json(self.path / "run.json", {**self.facts(), **facts})

    def result(self) -> dict[str, Any] | None:
        """metrics.json of a complete run, else None. Raises BadInput where it is damaged."""
        fix = f"remove it, and lot run --resume --run-dir {shlex.quote(self.name)} measures anew"
        document = _read_table(self.path / "metrics.json", fix)
        if document is not None and not isinstance(document.get("metrics"), dict):
            raise BadInput(f"{self.path / 'metrics.json'}: damaged (no metrics in it)", fix=fix)
        if document is not None and (odd := _no_number(document["metrics"])):
            raise BadInput(f"{self.path / 'metrics.json'}: damaged ({odd} is no number)", fix=fix)
        return document

    def metrics(self) -> dict[str, float] | None:
        """The final metrics of a complete run, else None. Raises BadInput where they are damaged."""
        document = self.result()
        return None if document is None else document["metrics"]

    def complete(self, document: dict[str, Any]) -> None:
        """Write metrics.json; from then on the run is complete."""
        write_json(self.path / "metrics.json", document)

    def create(self, config_yaml: str, facts: dict[str, Any]) -> None:
        """Write config.yaml and run.json of a new run."""
        write_atomic(self.path / "config.yaml", config_yaml)  # first: from here on there is something to resume
        self.checkpoints.mkdir(exist_ok=True)
        self.snapshots.mkdir(exist_ok=True)
        write_json(self.path / "run.json", facts)

    def is_empty(self) -> bool:
        """Whether nothing but lock and hidden files is here."""
        return not self.path.is_dir() or all(entry.name.startswith(".") for entry in self.path.iterdir())

    def remove_if_empty(self) -> None:
        """Remove a directory in which nothing was ever written (what was to run turned out to be impossible)."""
        if self.path.is_dir() and self.is_empty():
            self._lock.remove()
            with contextlib.suppress(OSError):
                self.path.rmdir()

    def rows(self, file: str = METRICS) -> list[dict[str, Any]]:
        """The rows of a log, oldest first; a last line cut off by a kill is left out. Raises BadInput for a damaged one.

        The metrics of a complete run are compared with the checksum that metrics.json has of them.
        """
        log = self.path / file
        if log.exists() and log.stat().st_size > MOST_LOG:
            raise BadInput(f"{log}: damaged (more than {MOST_LOG >> 30} GiB)", fix=_RESTORE)
        recorded = (self.result() or {}).get("log_sha256") if file == METRICS else None
        if recorded is not None and recorded != log_digest(log):
            what = "damaged (its checksum is not that in metrics.json)" if log.exists() else "gone"
            raise BadInput(f"{log}: {what}", fix=_RESTORE)
        return list(_rows(log))


def log_digest(path: Path, length: int | None = None) -> str | None:
    """The sha256 of a log, or of its first `length` bytes; None where the file is missing or shorter."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    if length is not None and len(content) < length:
        return None
    return hashlib.sha256(content[:length]).hexdigest()


def new_run_dir(root: Path, name: str) -> Path:
    """A fresh `root/name/version_N`, N one more than the highest there is. Raises BadInput where it cannot be made."""
    parent, fresh = root / name, not root.exists()
    try:
        parent.mkdir(parents=True, exist_ok=True)
        number = 1 + max(_versions(parent), default=-1)
        while True:
            path = parent / f"version_{number}"
            try:
                path.mkdir()
                return path
            except FileExistsError:
                number += 1
    except OSError as error:
        if fresh:
            with contextlib.suppress(OSError):
                root.rmdir()
        raise BadInput(
            f"{parent}: cannot be written ({error.strerror})", fix="choose another directory with --run-dir"
        ) from None


def find_run(path: Path) -> Path:
    """The run at `path`: itself, or its newest version. Raises BadInput where there is none, or where a link leads out of it."""
    versions = [path / f"version_{n}" for n in sorted(_versions(path), reverse=True)] if path.is_dir() else []
    for run in (path, *versions):
        if (run / "config.yaml").exists():
            refuse_what_leads_out(path if run.is_symlink() and run != path else run)
            return run
    raise BadInput(f"{path}: no run there (no config.yaml)", fix="name a run directory, such as runs/NAME/version_0")


def _versions(parent: Path) -> Iterator[int]:
    for entry in parent.glob("version_*"):
        number = entry.name.removeprefix("version_")
        if number.isdigit():
            yield int(number)


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return
    for number, line in enumerate(lines[:-1], 1):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if not _is_row(row):
            raise BadInput(
                f"{path}, line {number}: damaged (not a row of a log)", fix="restore the file, or delete the line"
            )
        yield row


def _is_row(row: object) -> bool:
    """Whether a line of a log is a step with names and numbers."""
    if not isinstance(row, dict) or not isinstance(row.get("step"), int):
        return False
    names = {key: value for key, value in row.items() if key in ("split", "diagnostic")}
    return not _no_number({key: row[key] for key in row.keys() - names}) and all(
        isinstance(name, str) for name in names.values()
    )


def _no_number(values: dict[str, Any]) -> str | None:
    """The first key whose value is neither a number nor null (a number that is not finite), or None."""
    return next((key for key, v in values.items() if v is not None and not _is_number(v)), None)


def _is_number(value: object) -> bool:
    """Whether a value is a number that a float can hold."""
    if isinstance(value, int):
        return not isinstance(value, bool) and abs(value) < _LARGEST
    return isinstance(value, float)


def _read_table(path: Path, fix: str = _RESTORE) -> dict[str, Any] | None:
    """The JSON table in `path`, or None where there is no such file. Raises BadInput where there is something else."""
    try:
        table = read_json(path)
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise BadInput(f"{path}: damaged ({error})", fix=fix) from None
    if table is not None and not isinstance(table, dict):
        raise BadInput(f"{path}: damaged (a {type(table).__name__} instead of a table)", fix=fix)
    return table


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
