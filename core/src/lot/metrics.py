"""Metrics of tasks, so that no task package writes its own and one name means one number everywhere.

Each is a torchmetrics `Metric`, updated with logits (B, T, V) of any floating dtype and
targets (B, T) int64, which are `lot.IGNORED` (-100) where nothing is scored.
Each is a micro average: every scored target (for `ExactMatch`: every example with one)
counts the same, whatever the batch in which it came. Sums stay on the device,
so that an update does not wait for it. `compute()` returns a () tensor,
which is NaN as long as nothing was scored.

    def metrics(self) -> torchmetrics.MetricCollection:
        return torchmetrics.MetricCollection({"loss": MeanLoss(), "accuracy": TokenAccuracy()})
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric

from lot.contracts import IGNORED

__all__ = ["BitsPerUnit", "ExactMatch", "MeanLoss", "Perplexity", "TokenAccuracy"]


class MeanLoss(Metric):
    """Mean negative log likelihood, in nats per scored token.

    Log likelihoods are computed in float32 and summed in float64.
    """

    higher_is_better = False
    is_differentiable = False
    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self, **kwargs: Any) -> None:
        """kwargs: those of `torchmetrics.Metric`."""
        super().__init__(**kwargs)
        # A float32 sum over a large split would lose digits; a count in it would stop at 2**24.
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, logits: Tensor, targets: Tensor) -> None:
        """Add the losses of a batch: logits (B, T, V), targets (B, T) int64."""
        losses = F.cross_entropy(
            logits.flatten(0, 1).float(), targets.flatten(), ignore_index=IGNORED, reduction="none"
        )
        self.total += losses.sum(dtype=torch.float64)
        self.count += (targets != IGNORED).sum()

    def compute(self) -> Tensor:
        """() float64, nats per scored token; NaN where none was scored."""
        return self.total / self.count


class Perplexity(MeanLoss):
    """exp(mean loss): the number of equally likely tokens that would leave the model as uncertain."""

    def compute(self) -> Tensor:
        """() float64, a number of tokens; NaN where none was scored."""
        return super().compute().exp()


class BitsPerUnit(MeanLoss):
    """Mean loss / ln 2, in bits per scored token.

    The unit is what a token stands for: bits per character, per byte, or per word.
    """

    def compute(self) -> Tensor:
        """() float64, bits per scored token; NaN where none was scored."""
        return super().compute() / math.log(2)


class _Share(Metric):
    """A share of right answers among what is scored at positions from `start` on."""

    higher_is_better = True
    is_differentiable = False
    full_state_update = False
    right: Tensor
    count: Tensor

    def __init__(self, start: int = 0, **kwargs: Any) -> None:
        """start: the first position that counts. kwargs: those of `torchmetrics.Metric`."""
        super().__init__(**kwargs)
        self.start = start
        self.add_state("right", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def compute(self) -> Tensor:
        """() float32 in [0, 1]; NaN where nothing was scored."""
        return self.right / self.count

    def _compare(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Which targets are scored, and which of those are predicted: two (B, T - start) bool."""
        targets = targets[:, self.start :]
        scored = targets != IGNORED
        return scored, scored & (logits[:, self.start :].argmax(-1) == targets)


class TokenAccuracy(_Share):
    """Share of the scored targets at positions from `start` on that are predicted.

    A target is predicted where it is the token of the largest logit.
    """

    def update(self, logits: Tensor, targets: Tensor) -> None:
        """Count the answers of a batch: logits (B, T, V), targets (B, T) int64."""
        scored, right = self._compare(logits, targets)
        self.right += right.sum()
        self.count += scored.sum()


class ExactMatch(_Share):
    """Share of the examples in which every scored target at positions from `start` on is predicted.

    A target is predicted where it is the token of the largest logit.
    An example in which nothing is scored does not count.
    """

    def update(self, logits: Tensor, targets: Tensor) -> None:
        """Count the examples of a batch: logits (B, T, V), targets (B, T) int64."""
        scored, right = self._compare(logits, targets)
        answered = scored.any(dim=1)
        self.right += (answered & (scored == right).all(dim=1)).sum()
        self.count += answered.sum()
