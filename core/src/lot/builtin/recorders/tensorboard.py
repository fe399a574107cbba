"""TensorBoard: event files in the directory of the run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lot.builtin.recorders.config import TensorBoardConfig, check_packages
from lot.config.yaml import dump_yaml
from lot.contracts import Recorder, Recording

EVENTS = "events.out.tfevents*"


class TensorBoard(Recorder):
    """A scalar `GROUP/NAME` for each number of a row; the configuration as text; pictures where they are asked for."""

    def __init__(self, config: TensorBoardConfig) -> None:
        check_packages(config)
        self.config, self.pictures = config.config, config.pictures
        self._board: Any = None

    def open(self, recording: Recording) -> int:
        """A new run begins without the events of one that was killed before its first checkpoint; another drops later ones."""
        from tensorboardX import SummaryWriter

        earlier = list(recording.path.glob(EVENTS))
        if not recording.resumed:
            for events in earlier:
                events.unlink()
        goes_on = recording.resumed and bool(earlier)
        self._board = SummaryWriter(
            str(recording.path),
            purge_step=recording.step + 1 if goes_on else None,
            filename_suffix=f".{recording.step}"
            if goes_on
            else "",  # names have whole seconds: a quick one would be lost
        )
        if goes_on:
            return recording.rows
        if self.config:
            told = ["**LEAK: this model saw what it was asked to predict**", ""] if recording.leak else []
            code = [f"    {line}" for line in dump_yaml(dict(recording.config)).splitlines()]
            self._board.add_text("config", "\n".join([*told, *code]), 0)
        return 0

    def write(self, group: str, step: int, values: Mapping[str, float]) -> None:
        """A scalar for each value."""
        for name, value in values.items():
            self._board.add_scalar(f"{group}/{name}", value, step)

    def picture(self, name: str, step: int, png: bytes) -> None:
        """An image of the tag `pictures/NAME`."""
        from tensorboardX.proto.summary_pb2 import Summary

        width, height = (int.from_bytes(png[at : at + 4], "big") for at in (16, 20))  # of the header of a PNG
        image = Summary.Image(height=height, width=width, colorspace=4, encoded_image_string=png)  # 4: RGBA
        summary = Summary(value=[Summary.Value(tag=f"pictures/{name}", image=image)])
        self._board.file_writer.add_summary(summary, step)

    def flush(self) -> None:
        """Write what is held in memory."""
        self._board.flush()

    def close(self, state: str) -> None:
        """Close the event file."""
        if self._board is not None:
            self._board.close()
