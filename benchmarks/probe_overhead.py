"""What a run pays for measuring itself: probes for leaks, memory between batches, and protection from diagnostics.

The run is as short and as small as those of `experiments/survey`, which is the worst case: a probe costs a fixed number of
passes, and a longer run has more steps between two of them. Its cost is put together from the CPU time of its parts, each
taken in a much shorter run of the same kind, so that many pairs fit into a minute. What is left out (composing, saving,
logging) would only make the share of the probes smaller.
"""

from __future__ import annotations

import contextlib
import functools
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from lot import load_config, train
from lot.config.schema import Config
from lot.training import diagnose
from lot.training.diagnose import Diagnosing
from lot.training.trainer import Trainer
from lot.training.trust import Trust
from lot_cli.bench import Case

STEPS, VALIDATIONS, DIAGNOSES = 300, 3, 7
"""Of the run whose cost is told: a validation every 100 steps, a diagnostic every 50 and before the first."""
SHORT = 8
"""Steps of the run that is timed: it validates twice."""


def setting(attention: str) -> Config:
    """Two layers of width 64 on 64 characters, 32 sequences in a batch: `experiments/survey/why.yaml`."""
    return load_config(
        {
            "task": {"name": "char_lm", "corpus": "pydoc", "seq_len": 64},
            "attn": {"name": attention},
            "model": {"width": 64, "heads": 4, "layers": 2, "positions": "rotary"},
            "optim": {"lr": 1e-2},
            "train": {
                "steps": SHORT,
                "batch_size": 32,
                "eval_every": SHORT // 2,
                "eval_examples": 512,
                "precision": "fp32",
                "compile": "off",
            },
        }
    )


class Times:
    """The CPU seconds of every call of the functions that a run consists of, by name, and how they make a longer run."""

    def __init__(self) -> None:
        self.calls: dict[str, list[float]] = {}
        for owner, names in (
            (Trust, ("before_training", "at_validation", "before_test")),
            (Trainer, ("train_step", "_measure")),
            (Diagnosing, ("look",)),
        ):
            for name in names:
                setattr(owner, name, self._timed(name, getattr(owner, name)))
        Trust.evaluation = self._timed_ends("evaluation", Trust.evaluation)  # type: ignore[method-assign]
        diagnose.unchanged = self._timed_ends("unchanged", diagnose.unchanged)

    def pair(self, config: Config, folder: Path) -> tuple[float, float]:
        """Seconds of a run of `STEPS` steps, and of what is not spent in measuring itself."""
        self.calls.clear()
        train(config, folder, device="cpu")
        shutil.rmtree(folder)
        calls = self.calls
        first, later = calls["at_validation"]  # the first asks for memory too
        measuring = sum(calls["before_training"]) + first + (VALIDATIONS - 1) * later + sum(calls["before_test"])
        measuring += (VALIDATIONS + 1) * statistics.mean(calls["evaluation"])
        *validations, test = calls["_measure"]
        rest = STEPS * statistics.mean(calls["train_step"]) + VALIDATIONS * statistics.mean(validations) + test
        rest -= (VALIDATIONS + 1) * statistics.mean(calls["evaluation"])
        if looks := calls.get("look"):
            protection = calls["unchanged"]
            measuring += DIAGNOSES * protection[-1]
            rest += DIAGNOSES * (looks[-1] - protection[-1])
        return measuring + rest, rest

    def _timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **named: Any) -> Any:
            began = time.process_time()
            try:
                return function(*arguments, **named)
            finally:
                self.calls.setdefault(name, []).append(time.process_time() - began)

        return timed

    def _timed_ends(self, name: str, context: Callable[..., Any]) -> Callable[..., Any]:
        """A context whose beginning and end are counted together, and what happens in it is not."""

        @contextlib.contextmanager
        def timed(*arguments: Any, **named: Any) -> Iterator[None]:
            began = time.process_time()
            entered = context(*arguments, **named)
            entered.__enter__()
            taken = time.process_time() - began
            yield
            began = time.process_time()
            entered.__exit__(None, None, None)
            self.calls.setdefault(name, []).append(taken + time.process_time() - began)

        return timed


def cases() -> Iterator[Case]:
    """A run with vanilla attention, and one whose attention wants a diagnostic."""
    folder, times = Path(tempfile.mkdtemp()), Times()
    for attention in ("vanilla", "lattice"):
        yield Case(
            name=f"a run of {STEPS} steps that measures itself, {attention}, 2 layers x 64",
            pair=functools.partial(times.pair, setting(attention), folder / attention),
            baseline_name="the rest of that run",
            cost=1.02,
        )
