"""Cross-entropy: the standard objective of language models."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from lot.builtin.config import CrossEntropyConfig
from lot.contracts import IGNORED, Batch, Context, Loss, Output


class CrossEntropy(Loss):
    """Mean negative log likelihood of the scored targets, in nats per scored token, computed in float32."""

    per_target = True

    def __init__(self, config: CrossEntropyConfig | None = None) -> None:
        self.label_smoothing = 0.0 if config is None else config.label_smoothing

    def __call__(self, output: Output, batch: Batch, ctx: Context) -> dict[str, Tensor]:
        """The term `cross_entropy`; 0 (not NaN) for a batch in which nothing is scored."""
        logits, targets = output.logits.flatten(0, 1).float(), batch.targets.flatten()
        total = F.cross_entropy(
            logits, targets, ignore_index=IGNORED, label_smoothing=self.label_smoothing, reduction="sum"
        )
        return {"cross_entropy": total / (targets != IGNORED).sum().clamp(min=1)}
