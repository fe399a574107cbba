"""What a run pays for measuring itself: probes for leaks, memory between batches, and protection from diagnostics.

The run is short and small, which is the worst case: a probe costs a fixed number of passes,
and a longer run has more steps between two of them.
"""

from __future__ import annotations

import contextlib
import functools
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lot import load_config, train
from lot.config.schema import Config
from lot.training import diagnose
from lot.training.trust import Trust
from lot_cli.bench import Case

STEPS = 300


def setting(attention: str) -> Config:
    """Two layers of width 64 on sequences of 64 tokens, 32 in a batch."""
    return load_config(
        {
            "task": {"name": "copy_reverse", "seq_len": 64},
            "attn": {"name": attention},
            "model": {"width": 64, "heads": 4, "layers": 2},
            "train": {"steps": STEPS, "batch_size": 32, "precision": "fp32", "compile": "off"},
        }
    )


class Clock:
    """Tells the seconds of a run that it did not spend in measuring itself."""

    def __init__(self) -> None:
        self.measuring = self.whole = 0.0
        for name in ("before_training", "at_validation", "before_test"):
            setattr(Trust, name, self._timed(getattr(Trust, name)))
        Trust.evaluation = self._timed_ends(Trust.evaluation)  # type: ignore[method-assign]
        diagnose.unchanged = self._timed_ends(diagnose.unchanged)

    def run(self, config: Config, folder: Path) -> None:
        """Train in a new folder."""
        self.measuring, began = 0.0, time.perf_counter()
        train(config, folder, device="cpu")
        self.whole = time.perf_counter() - began
        shutil.rmtree(folder)

    def rest(self) -> float:
        """The seconds of the last run without those that it spent in measuring itself."""
        return self.whole - self.measuring

    def _timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **named: Any) -> Any:
            began = time.perf_counter()
            try:
                return function(*arguments, **named)
            finally:
                self.measuring += time.perf_counter() - began

        return timed

    def _timed_ends(self, context: Callable[..., Any]) -> Callable[..., Any]:
        """A context whose beginning and end are counted, and what happens in it is not."""

        @contextlib.contextmanager
        def timed(*arguments: Any, **named: Any) -> Iterator[None]:
            entered = context(*arguments, **named)
            self._timed(entered.__enter__)()
            yield
            self._timed(entered.__exit__)(None, None, None)

        return timed


def cases() -> Iterator[Case]:
    """A run with vanilla attention, and one whose attention wants a diagnostic."""
    folder, clock = Path(tempfile.mkdtemp()), Clock()
    for attention in ("vanilla", "lattice"):
        yield Case(
            name=f"a run of {STEPS} steps that measures itself, {attention}, 2 layers x 64",
            candidate=functools.partial(clock.run, setting(attention), folder / attention),
            part=clock.rest,
            baseline_name="the rest of that run",
            cost=1.02,
        )
