"""Tasks whose metrics are wrong."""

from __future__ import annotations

import torch.nn.functional as F
import torchmetrics
from torch import Tensor

from kit_specimens.tasks import Honest
from lot.contracts import IGNORED
from lot.metrics import MeanLoss, TokenAccuracy


class NoPrimary(Honest):
    """A primary metric that is not among the metrics."""

    primary = "exact_match"


class _LowerAccuracy(TokenAccuracy):
    higher_is_better = False


class WrongDirection(Honest):
    """An accuracy of which less is said to be better."""

    def metrics(self) -> torchmetrics.MetricCollection:
        return torchmetrics.MetricCollection({"loss": MeanLoss(), "accuracy": _LowerAccuracy()})


class _AimlessAccuracy(TokenAccuracy):
    higher_is_better = None  # type: ignore[assignment]


class NoDirection(Honest):
    """An accuracy without a direction."""

    def metrics(self) -> torchmetrics.MetricCollection:
        return torchmetrics.MetricCollection({"loss": MeanLoss(), "accuracy": _AimlessAccuracy()})


class _MeanOfBatches(TokenAccuracy):
    def update(self, logits: Tensor, targets: Tensor) -> None:
        scored = targets != IGNORED
        self.right = self.right + (logits.argmax(-1) == targets)[scored].float().mean()
        self.count += 1


class AverageOfAverages(Honest):
    """An accuracy averaged over batches."""

    def metrics(self) -> torchmetrics.MetricCollection:
        return torchmetrics.MetricCollection({"loss": MeanLoss(), "accuracy": _MeanOfBatches()})


class _LossOverAll(MeanLoss):
    def update(self, logits: Tensor, targets: Tensor) -> None:
        self.total += F.cross_entropy(logits.flatten(0, 1), targets.clamp(min=0).flatten(), reduction="sum")
        self.count += targets.numel()


class LossOverAll(Honest):
    """A loss over all positions."""

    def metrics(self) -> torchmetrics.MetricCollection:
        return torchmetrics.MetricCollection({"loss": _LossOverAll(), "accuracy": TokenAccuracy()})
