"""Recorders: honest ones, and with a defect each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch

from lot.contracts import Recorder, Recording
from lot.errors import BadInput
from lot.options.declare import NoOptions


class Honest(Recorder):
    """Lines of JSON in the folder of the run, written anew from the log when it goes on."""

    def __init__(self, config: NoOptions) -> None:
        self.file: Path | None = None

    def open(self, recording: Recording) -> int:
        self.file = recording.path / "lines.jsonl"
        self.file.write_text("")
        return 0

    def write(self, group: str, step: int, values: Mapping[str, float]) -> None:
        assert self.file is not None
        with self.file.open("a") as lines:
            lines.write(json.dumps([group, step, dict(values)]) + "\n")

    def close(self, state: str) -> None:
        if self.file is not None:
            with self.file.open("a") as lines:
                lines.write(json.dumps(["closed", state]) + "\n")


class Final(Honest):
    """Lines that stay, as in a service: it counts, and keeps where they are."""

    final = True
    pictures = True

    def open(self, recording: Recording) -> int:
        self.file = recording.path / recording.kept.setdefault("file", "service.jsonl")
        with self.file.open("a") as lines:
            lines.write(json.dumps(["opened", recording.title, recording.config["seed"]]) + "\n")
        return recording.given

    def result(self, split: str, step: int, metrics: Mapping[str, float]) -> None:
        self.write(f"result/{split}", step, metrics)

    def picture(self, name: str, step: int, png: bytes) -> None:
        self.write(f"picture/{name}", step, {"bytes": len(png)})


class NoRecorder:
    """Not a recorder."""

    def __init__(self, config: NoOptions) -> None:
        pass


class Unavailable(Honest):
    """Cannot be made on any machine."""

    def __init__(self, config: NoOptions) -> None:
        raise BadInput("the package nowhere is not installed", fix="pip install nowhere")


class ClosesWhatIsOpen(Honest):
    """Closes a file that it may never have opened."""

    def close(self, state: str) -> None:
        assert self.file is not None
        self.file.read_text()


class NoNumber(Honest):
    """Says nothing of what it holds."""

    def open(self, recording: Recording) -> int:
        super().open(recording)
        return None  # type: ignore[return-value]


class CountsItsOwn(Honest):
    """Holds what it was given, and does not drop what came after the checkpoint."""

    def open(self, recording: Recording) -> int:
        file = recording.path / "lines.jsonl"
        earlier = file.read_text() if file.exists() else ""
        super().open(recording)
        file.write_text(earlier)
        return earlier.count("\n")


class CountsAnew(Final):
    """Writes all rows once more where a run goes on."""

    def open(self, recording: Recording) -> int:
        super().open(recording)
        return 0


class NoPictures(Final):
    """Cannot take the picture that it asks for."""

    def picture(self, name: str, step: int, png: bytes) -> None:
        raise ValueError("what is this?")


class KnowsItsGroups(Honest):
    """Has a place for rows of training only."""

    def write(self, group: str, step: int, values: Mapping[str, float]) -> None:
        if group not in ("train", "validation", "speed"):
            raise KeyError(group)


class Draws(Honest):
    """Draws a number of the run from torch's default generator."""

    def open(self, recording: Recording) -> int:
        torch.rand(())
        return super().open(recording)


class Prints(Honest):
    """Says hello."""

    def open(self, recording: Recording) -> int:
        print("hello")
        return super().open(recording)


class Rewrites(Honest):
    """Clears the log of the run."""

    def close(self, state: str) -> None:
        super().close(state)
        if self.file is not None:
            (self.file.parent / "metrics.jsonl").write_text("")


class FailsLate(Honest):
    """Fails from step 6 on."""

    def write(self, group: str, step: int, values: Mapping[str, float]) -> None:
        if step >= 6:
            raise OSError(28, "No space left on device")
        super().write(group, step, values)


class FailsAtOnce(Honest):
    """Cannot be opened."""

    def open(self, recording: Recording) -> int:
        raise ConnectionError("no answer from the server")


class Hangs(Honest):
    """Waits for a server that never answers."""

    def open(self, recording: Recording) -> int:
        import threading

        threading.Event().wait()
        return 0
