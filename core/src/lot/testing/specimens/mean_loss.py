"""The loss as a metric, for specimens that need a task with a score."""

from __future__ import annotations

import torch
import torch.nn.functional as F
import torchmetrics
from torch import Tensor

from lot.contracts import IGNORED


class MeanLoss(torchmetrics.Metric):
    """Negative log likelihood in nats, averaged over all scored targets of all batches."""

    higher_is_better = False
    total: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, logits: Tensor, targets: Tensor) -> None:
        """Count logits (B, T, V) against targets (B, T) int64, of which -100 is not scored."""
        loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="sum")
        self.total += loss.double()
        self.count += (targets != IGNORED).sum()

    def compute(self) -> Tensor:
        """The mean in nats per scored token, a () tensor of float64."""
        return self.total / self.count
