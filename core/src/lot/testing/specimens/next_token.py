"""A task without a pattern, for models that are measured and never trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from lot.contracts import Batch, Split, Task
from lot.testing.specimens.samples import sample_batch

if TYPE_CHECKING:
    import torchmetrics


class NextToken(Task):
    """Random tokens, each to be followed by the next one, which no model can predict."""

    def __init__(self, vocab_size: int, seq_len: int) -> None:
        self.vocab_size, self.seq_len = vocab_size, seq_len

    def batch(self, split: Split, index: int, size: int, device: torch.device | str = "cpu") -> Batch:
        """`sample_batch`, the same for every split and index."""
        inputs, targets = sample_batch(self.vocab_size, size, self.seq_len)[:2]
        return Batch(inputs.to(device), targets.to(device))

    def length(self, split: Split) -> int | None:
        """64 for validation and test; None for training, which has no end."""
        return None if split == "train" else 64

    def metrics(self) -> torchmetrics.MetricCollection:
        """The mean loss, in nats per scored token."""
        import torchmetrics

        from lot.metrics import MeanLoss

        return torchmetrics.MetricCollection({"loss": MeanLoss()})

    def decode(self, ids: Any) -> str:
        """The ids (T,) as numbers, separated by spaces."""
        return " ".join(str(int(i)) for i in ids)
