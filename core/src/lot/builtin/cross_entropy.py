"""Cross-entropy: the standard objective of language models."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lot.builtin.config import CrossEntropyConfig
from lot.contracts import IGNORED, Batch, Context, Loss, Output


class CrossEntropy(Loss):
    """Mean negative log likelihood of the scored targets, in nats per scored token, in float32 or wider."""

    per_target = True

    def __init__(self, config: CrossEntropyConfig | None = None) -> None:
        self.label_smoothing = 0.0 if config is None else config.label_smoothing

    def __call__(self, output: Output, batch: Batch, ctx: Context) -> dict[str, Tensor]:
        """The sum of the term `cross_entropy` over scored targets, which its mean is taken over."""
        logits = output.logits.flatten(0, 1)
        total = F.cross_entropy(
            logits.to(torch.promote_types(logits.dtype, torch.float32)),
            batch.targets.flatten(),
            ignore_index=IGNORED,
            label_smoothing=self.label_smoothing,
            reduction="sum",
        )
        return {"cross_entropy": total}
