"""Selective copying, from MAD: symbols among blanks, to be repeated in order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lot import IGNORED, Split
from lot_tasks.config import SelectiveCopyingConfig
from lot_tasks.metrics import mad_metrics
from lot_tasks.synthetic.base import SyntheticTask
from lot_tasks.synthetic.splits import place, require_symbols

if TYPE_CHECKING:
    import torchmetrics


class SelectiveCopying(SyntheticTask):
    """Symbols among blanks, a copy token, and as many blanks as symbols, at which the symbols are asked for in order.

    Each blank goes before a symbol chosen uniformly, so the last symbol stands right before the copy token.
    """

    name = "selective_copying"
    primary = "token_accuracy"

    def __init__(self, config: SelectiveCopyingConfig, seed: int) -> None:
        super().__init__(config, seed)
        self.vocab_size = config.vocab_size
        self.seq_len = config.seq_len
        self.copied = config.copied
        self.blanks = config.seq_len - 2 * config.copied - 1
        self.symbols = range(config.vocab_size - 2)
        self.blank, self.copy = config.vocab_size - 2, config.vocab_size - 1
        require_symbols(len(self.symbols), where="vocab_size", got=config.vocab_size)

    def draw(self, rng: np.random.Generator, split: Split, count: int) -> tuple[np.ndarray, np.ndarray]:
        symbols = rng.integers(0, len(self.symbols), (count, self.copied))
        blanks_before = rng.multinomial(self.blanks, np.full(self.copied, 1 / self.copied), count).cumsum(axis=1)
        inputs = np.full((count, self.seq_len), self.blank)
        np.put_along_axis(inputs, blanks_before + np.arange(self.copied), symbols, axis=1)
        inputs[:, self.copied + self.blanks] = self.copy
        targets = np.full_like(inputs, IGNORED)
        targets[:, -self.copied :] = symbols
        return place(rng, split, self.symbols, inputs, targets)

    def metrics(self) -> torchmetrics.MetricCollection:
        return mad_metrics(self.vocab_size)

    def symbol(self, token: int) -> str:
        return {self.blank: "_", self.copy: "|"}.get(token, str(token))
