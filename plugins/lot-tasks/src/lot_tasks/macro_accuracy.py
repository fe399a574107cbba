"""The one metric that is the tasks' own; the others are in `lot.metrics`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from lot import IGNORED


class MacroAccuracy(Metric):
    """The accuracy on the targets of each token of the vocabulary, averaged over tokens: () float32 in [0, 1].

    This is torchmetrics' macro average. A token counts if it is a target or a prediction anywhere; one that is predicted
    but never a target counts 0. MAD reports this mean for each batch and then averages over batches (Poli et al., 2024),
    which depends on the batch size; here it is over all that was scored. NaN where nothing was.
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
        """Count the answers of a batch: logits (B, T, V), targets (B, T) int64."""
        scored = (targets != IGNORED).flatten().long()
        wanted = targets.flatten().clamp(min=0)  # an ignored target is counted as token 0, zero times
        predicted = logits.argmax(-1).flatten()
        # scatter_add_ where bincount would ask the device for the largest token
        self.right.scatter_add_(0, wanted, scored * (wanted == predicted))
        self.asked.scatter_add_(0, wanted, scored)
        self.seen.scatter_add_(0, wanted, scored).scatter_add_(0, predicted, scored)

    def compute(self) -> Tensor:
        """() float32 in [0, 1]; NaN where nothing was scored."""
        return (self.right / self.asked.clamp(min=1)).sum() / (self.seen > 0).sum()
