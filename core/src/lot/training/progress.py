"""What a run has come to between two steps: all that a checkpoint holds beside weights and optimizer."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from lot.training.best_validation import BestValidation
from lot.training.divergence import DivergenceWatch


@dataclass
class Progress:
    """The state of a run between two steps.

    step: optimizer steps that are done. sums: of each logged quantity () over the steps since the last row of the log.
    """

    divergence: DivergenceWatch
    step: int = 0
    sums: dict[str, Tensor] = field(default_factory=dict)
    best: BestValidation = field(default_factory=BestValidation)

    def add(self, values: dict[str, Tensor]) -> None:
        """Add to the sums, on the device: nothing waits for it."""
        for name, value in values.items():
            self.sums[name] = self.sums[name] + value if name in self.sums else value


def share_of_sums(saved: list[dict[str, Tensor]], rank: int, world: int, device: torch.device) -> dict[str, Tensor]:
    """The sums of this process among those of all that were saved; where their number has changed, the mean of all."""
    if len(saved) == world:
        return {name: value.to(device) for name, value in saved[rank].items()}
    return {name: torch.stack([one[name] for one in saved]).mean(0).to(device) for name in saved[0]}
