"""The contract of a recorder, and the run that it is opened for."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Recording:
    """The run that a recorder is opened for.

    path: its directory. title: its name, for people. config: its configuration as plain data, by section. leak: whether the
    model sees what it is asked to predict, which a recorder shows where its readers look first.
    step: optimizer steps that are done. resumed: whether the run goes on from a checkpoint of its own.
    rows: rows of its log that come before what it will write now. given: rows that this recorder had been given when the run
    stopped, where it is `final`; else 0.
    kept: plain data that stay with the run. Put in what the next `open` needs, such as the number of a remote run.
    """

    path: Path
    title: str
    config: Mapping[str, Any]
    leak: bool
    step: int
    resumed: bool
    rows: int
    given: int
    kept: dict[str, Any]


class Recorder(abc.ABC):
    """Takes the rows of a run to another place, beside the log of the run, which stays the record.

    It is made in every process, and opened in the main one alone. From `open` to `close` a thread of its own calls it, so
    that the run waits for nothing that it waits for. What it raises is told once; the run then goes on without it. It imports
    the package that it needs in `open`, never before.

    final: whether what it was given cannot be taken back, as in a service. LOT then counts the rows that it has.
    pictures: whether it wants the pictures of the diagnostics, drawn at the end of the run. They need matplotlib.
    """

    final: bool = False
    pictures: bool = False

    @abc.abstractmethod
    def open(self, recording: Recording) -> int:
        """Begin, or go on with a run that is resumed; the rows of the log that are held already, from the first on.

        Rows beyond that number are written now: first those of the log (all `recording.rows`, where a recorder is new to a
        run), then those to come. What is held beyond `recording.rows` is dropped, or else counted: a resumed run writes the
        same rows again. A `final` recorder returns `recording.given`.
        """

    @abc.abstractmethod
    def write(self, group: str, step: int, values: Mapping[str, float]) -> None:
        """Take a row. group: `train`, `validation`, `speed` or the name of a diagnostic; a value may be NaN."""

    def result(self, split: str, step: int, metrics: Mapping[str, float]) -> None:  # noqa: B027
        """Take the final metrics of a run that is complete, measured at `step` on `split`."""

    def picture(self, name: str, step: int, png: bytes) -> None:  # noqa: B027
        """Take the picture of the diagnostic `name`, drawn after `step`."""

    def flush(self) -> None:  # noqa: B027
        """Bring what was given to where the end of the process does not reach it; called after each checkpoint."""

    def close(self, state: str) -> None:  # noqa: B027
        """End. state: `complete`, `failed` or `interrupted`, as in status.json."""
