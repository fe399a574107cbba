"""Metrics of tasks: micro averages (every scored target counts the same), summed on the device without a host sync.

Each is updated with logits (B, T, V) and targets (B, T) int64, -100 where nothing is scored, and is NaN before any
target was scored.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric, MetricCollection

from lot import IGNORED


class CrossEntropy(Metric):
    """Mean negative log likelihood of the scored targets, in nats a token."""

    higher_is_better = False
    is_differentiable = False
    full_state_update = False
    total: Tensor
    count: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        # A float32 sum over a large split would lose digits; a count in it would stop at 2**24.
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, logits: Tensor, targets: Tensor) -> None:
        losses = F.cross_entropy(
            logits.flatten(0, 1).float(), targets.flatten(), ignore_index=IGNORED, reduction="none"
        )
        self.total += losses.sum(dtype=torch.float64)
        self.count += (targets != IGNORED).sum()

    def compute(self) -> Tensor:
        return self.total / self.count


class Perplexity(CrossEntropy):
    """exp(cross-entropy): the number of equally likely tokens that would be as uncertain."""

    def compute(self) -> Tensor:
        return super().compute().exp()


class BitsPerToken(CrossEntropy):
    """Cross-entropy in bits; bits a character or a byte where tokens are characters or bytes."""

    def compute(self) -> Tensor:
        return super().compute() / math.log(2)


class _Answer(Metric):
    """A share of right answers, at positions from `start` on."""

    higher_is_better = True
    is_differentiable = False
    full_state_update = False
    right: Tensor
    count: Tensor

    def __init__(self, start: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.start = start
        self.add_state("right", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def compute(self) -> Tensor:
        return self.right / self.count

    def _compare(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Which targets are scored, and which of those are predicted: two (B, T - start) bool."""
        targets = targets[:, self.start :]
        scored = targets != IGNORED
        return scored, scored & (logits[:, self.start :].argmax(-1) == targets)


class TokenAccuracy(_Answer):
    """Share of scored targets at positions from `start` on whose most likely token is right."""

    def update(self, logits: Tensor, targets: Tensor) -> None:
        scored, right = self._compare(logits, targets)
        self.right += right.sum()
        self.count += scored.sum()


class ExactMatch(_Answer):
    """Share of examples in which every scored target at positions from `start` on is predicted.

    Examples in which nothing is scored do not count.
    """

    def update(self, logits: Tensor, targets: Tensor) -> None:
        scored, right = self._compare(logits, targets)
        answered = scored.any(dim=1)
        self.right += (answered & (scored == right).all(dim=1)).sum()
        self.count += answered.sum()


class MacroAccuracy(Metric):
    """Mean over tokens of the vocabulary of the accuracy on targets of that token, as torchmetrics' macro average.

    A token counts if it is a target or a prediction anywhere; one that is predicted but never a target counts 0. MAD
    reports this mean for each batch and then averages over batches (Poli et al., 2024), which depends on the batch
    size; here it is over all that was scored.
    """

    higher_is_better = True
    is_differentiable = False
    full_state_update = False
    right: Tensor
    asked: Tensor
    seen: Tensor

    def __init__(self, vocab_size: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.vocab_size = vocab_size
        for name in ("right", "asked", "seen"):
            self.add_state(name, torch.zeros(vocab_size, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, logits: Tensor, targets: Tensor) -> None:
        scored = (targets != IGNORED).flatten().long()
        wanted = targets.flatten().clamp(min=0)  # an ignored target is counted as token 0, zero times
        predicted = logits.argmax(-1).flatten()
        # scatter_add_ where bincount would ask the device for the largest token
        self.right.scatter_add_(0, wanted, scored * (wanted == predicted))
        self.asked.scatter_add_(0, wanted, scored)
        self.seen.scatter_add_(0, wanted, scored).scatter_add_(0, predicted, scored)

    def compute(self) -> Tensor:
        return (self.right / self.asked.clamp(min=1)).sum() / (self.seen > 0).sum()


def answer_metrics(start: int = 0) -> MetricCollection:
    """loss, exact_match and token_accuracy; the latter two from position `start` on."""
    return collection(loss=CrossEntropy(), exact_match=ExactMatch(start), token_accuracy=TokenAccuracy(start))


def mad_metrics(vocab_size: int) -> MetricCollection:
    """As `answer_metrics`, and macro_accuracy."""
    return collection(
        loss=CrossEntropy(),
        exact_match=ExactMatch(),
        token_accuracy=TokenAccuracy(),
        macro_accuracy=MacroAccuracy(vocab_size),
    )


def pattern_metrics() -> MetricCollection:
    """loss and token_accuracy."""
    return collection(loss=CrossEntropy(), token_accuracy=TokenAccuracy())


def language_metrics(bits: str | None = None) -> MetricCollection:
    """loss, perplexity, and the cross-entropy in bits under the name `bits`."""
    named = {"loss": CrossEntropy(), "perplexity": Perplexity()}
    if bits is not None:
        named[bits] = BitsPerToken()
    return collection(shared=[list(named)], **named)


def collection(shared: Sequence[list[str]] = (), **metrics: Metric) -> MetricCollection:
    """The named metrics; those of one list of `shared` have equal states and are updated once for all.

    The groups are stated because torchmetrics would otherwise find them by comparing values on the host.
    """
    in_groups = {name for group in shared for name in group}
    alone = [[name] for name in metrics if name not in in_groups]
    return MetricCollection(dict(metrics), compute_groups=[*shared, *alone])
