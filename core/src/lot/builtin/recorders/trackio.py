"""Trackio: a run there for each run here, on this machine or in a Hugging Face Space."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Mapping
from typing import Any

from lot.builtin.recorders.config import TrackioConfig, check_packages
from lot.builtin.recorders.picture_file import picture_file
from lot.contracts import Recorder, Recording


class Trackio(Recorder):
    """A chart `GROUP/NAME` over the step for each number; configuration, result and pictures.

    The name of the run there stays with the run, and a resumed run goes on under it.
    """

    final = True

    def __init__(self, config: TrackioConfig) -> None:
        check_packages(config)
        self.options, self.pictures = config, config.pictures
        self._run: Any = None

    def open(self, recording: Recording) -> int:
        """Begin a run, or go on with the one whose name was kept. Raises Trackio's own error where it cannot be had."""
        import trackio

        # Trackio prints to stdout, where a caller of `lot run --json` reads a result; to turn that for all threads would turn
        # what the run itself prints.
        for module in [each for name, each in sys.modules.items() if name.partition(".")[0] == "trackio"]:
            module.print = _say_nothing  # type: ignore[attr-defined]
        name = recording.kept.setdefault("name", f"{recording.title}-{secrets.token_hex(4)}")
        self._run = trackio.init(
            project=self.options.project,
            name=name,
            space_id=self.options.space,
            config={**recording.config, **({"LEAK": True} if recording.leak else {})},
            resume="allow",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )
        return recording.given

    def write(self, group: str, step: int, values: Mapping[str, float]) -> None:
        """A point of each chart."""
        self._run.log({f"{group}/{name}": value for name, value in values.items()}, step=step)

    def result(self, split: str, step: int, metrics: Mapping[str, float]) -> None:
        """A point of each chart `result/SPLIT/NAME`."""
        self.write(f"result/{split}", step, metrics)

    def picture(self, name: str, step: int, png: bytes) -> None:
        """An image `pictures/NAME`."""
        import trackio

        with picture_file(name, png) as path:
            self._run.log({f"pictures/{name}": trackio.Image(path)}, step=step)  # Trackio copies the file

    def close(self, state: str) -> None:
        """Finish the run there."""
        if self._run is not None:
            self._run.finish()


def _say_nothing(*words: object, **options: object) -> None:
    """In place of `print`."""
