"""Examples as a task gives them, to a model and to a loss.

Shapes: B batch, T positions.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

IGNORED = -100
"""The target of a position that is not scored (the default `ignore_index` of torch's cross-entropy)."""


class Batch(NamedTuple):
    """inputs (B, T) int64; targets (B, T) int64 with -100 where nothing is scored; padding (B, T) bool or None.

    segments: (B, T) int64, a new number where a new document begins in a row, or None where each row is one (see
    `Task.segments`). They stay on the CPU, whatever the device of the others: what is made of them are sizes.
    """

    inputs: Tensor
    targets: Tensor
    padding: Tensor | None = None
    segments: Tensor | None = None

    def scored(self) -> Tensor:
        """The number () int64 of targets that are scored."""
        return (self.targets != IGNORED).sum()

    def tokens(self) -> Tensor:
        """The number () int64 of tokens that are no padding."""
        if self.padding is None:
            return torch.full((), self.inputs.numel(), device=self.inputs.device)
        return (~self.padding).sum()
