"""The contract of a diagnostic, what it sees and what it measured."""

from __future__ import annotations

import abc
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from lot.contracts.batch import Batch
from lot.contracts.context import Context
from lot.contracts.model import Model
from lot.contracts.output import Output
from lot.contracts.task import Task

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass
class Probe:
    """What a diagnostic sees: a pass of its own, which cannot change training.

    model: in evaluation mode. batch: from the validation split or, where `prompted`, one text of the user.
    output: with the signals that the diagnostics need. generator: keyed by (seed, "diagnostic", name, step).
    gradients(): gradient of the objective by parameter name, on request.
    """

    model: Model
    batch: Batch
    output: Output
    ctx: Context
    task: Task
    generator: torch.Generator
    gradients: Callable[[], dict[str, Tensor]]
    prompted: bool = False


class Record(NamedTuple):
    """What a diagnostic measured at a step: name -> tensor on the CPU."""

    step: int
    values: dict[str, Tensor]

    @property
    def scalars(self) -> dict[str, Tensor]:
        """The values of one element, each of shape (): what goes to the log."""
        return {name: value.reshape(()) for name, value in self.values.items() if value.numel() == 1}


class Diagnostic(abc.ABC):
    """Measures a model during training and draws what it measured.

    needs: signals of the probe's output. headline: the scalar shown in the progress line, or None. examples: sequences
    that it wants to see, at most.

    Optional: `animate(records, path)`, which writes an animation to `path` (.gif or .mp4, by `lot.figure.save_animation`)
    or raises BadInput where there is nothing to animate.
    """

    needs: frozenset[str] = frozenset()
    headline: str | None = None
    examples: int = 64

    @abc.abstractmethod
    def measure(self, probe: Probe) -> dict[str, Tensor]:
        """Values by name. Scalars, which are finite, go to the log; everything becomes a snapshot file.

        An array may hold NaN where there is nothing to measure.
        """

    def draw(self, records: list[Record]) -> Figure | None:
        """A matplotlib figure of the records of a run (oldest first), or None where there is nothing to draw."""
        return None

    def verdict(self, records: list[Record]) -> str | None:
        """One line that says what the numbers mean (with number and threshold), or None."""
        return None

    def alarm(self, records: list[Record]) -> str | None:
        """One line of warning, asked for after each measurement with the latest ones (scalars only), or None."""
        return None
