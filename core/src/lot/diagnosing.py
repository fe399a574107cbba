"""Diagnostics of a run: which are due at a step, and what a measurement leaves behind."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from lot.compose import Composition
from lot.contracts import Record
from lot.model import Decoder
from lot.probing import load_records, measure, save_snapshot
from lot.recorder import Recorder
from lot.run_dir import RunDir

REMEMBERED = 8
"""Measurements of which an alarm may judge."""


class Diagnosing:
    """Measures what is due; scalars go to the log, everything to a snapshot, what `alarm` says to the reader."""

    def __init__(
        self, composition: Composition, run: RunDir, recorder: Recorder, report: Callable[[str, dict[str, Any]], None]
    ) -> None:
        self.composition, self.run, self.recorder, self.report = composition, run, recorder, report
        self._recent: dict[str, deque[Record]] = {}

    def due(self, step: int) -> list[str]:
        """The diagnostics to measure at `step`: each as often as it wants, and all at the end."""
        every = {name: chosen.every for name, (chosen, _) in self.composition.diagnostics.items()}
        return [name for name in every if step % every[name] == 0 or step == self.composition.config.train.steps]

    def look(self, model: Decoder | None, names: list[str], step: int, device: torch.device, precision: str) -> None:
        """Measure the diagnostics `names` on `model`, a form of the composition's on `device`. Raises OSError."""
        assert model is not None, "only the main process looks"
        composition = replace(self.composition, model=model)
        for name in names:
            diagnostic = composition.diagnostics[name][1]
            values = measure(composition, name, diagnostic, step, device, precision)
            save_snapshot(self.run.snapshots, name, step, values)
            scalars = {key: float(value) for key, value in values.items() if value.numel() == 1}
            self.recorder.write(name, {"step": step, "diagnostic": name, **scalars})
            self.report("diagnostic", {"step": step, "name": name, "headline": diagnostic.headline, **scalars})
            recent = self._recent[name] if name in self._recent else self._earlier(name, step)
            recent.append(Record(step, {key: torch.tensor(value) for key, value in scalars.items()}))
            if (line := diagnostic.alarm(list(recent))) is not None:
                self.report("warning", {"step": step, "text": f"{name}: {line}"})

    def _earlier(self, name: str, step: int) -> deque[Record]:
        """The last scalars measured before `step`: those of a run that was resumed."""
        self._recent[name] = deque(maxlen=REMEMBERED)
        for record in load_records(self.run.path, name):
            if record.step < step:
                scalars = {key: value.reshape(()) for key, value in record.values.items() if value.numel() == 1}
                self._recent[name].append(Record(record.step, scalars))
        return self._recent[name]
