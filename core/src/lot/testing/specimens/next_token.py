"""A task for models that are only looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from lot.contracts import Batch, Split, Task
from lot.testing.specimens.samples import sample_batch

if TYPE_CHECKING:
    import torchmetrics


class NextToken(Task):
    """The next one of random tokens, which nobody can know."""

    def __init__(self, vocab_size: int, seq_len: int) -> None:
        self.vocab_size, self.seq_len = vocab_size, seq_len

    def batch(self, split: Split, index: int, size: int, device: torch.device | str = "cpu") -> Batch:
        """`sample_batch`, whatever the split and the index."""
        inputs, targets, _ = sample_batch(self.vocab_size, size, self.seq_len)
        return Batch(inputs.to(device), targets.to(device))

    def length(self, split: Split) -> int | None:
        """64; training has no end."""
        return None if split == "train" else 64

    def metrics(self) -> torchmetrics.MetricCollection:
        """The mean negative log likelihood."""
        import torchmetrics

        from lot.testing.specimens.mean_loss import MeanLoss

        return torchmetrics.MetricCollection({"loss": MeanLoss()})

    def decode(self, ids: Any) -> str:
        """Numbers, separated by spaces."""
        return " ".join(str(int(i)) for i in ids)
