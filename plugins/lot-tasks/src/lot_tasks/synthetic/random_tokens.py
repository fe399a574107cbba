"""Random tokens: the control, in which there is nothing to learn."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from lot import Split
from lot_tasks.config import RandomConfig
from lot_tasks.metrics import pattern_metrics
from lot_tasks.synthetic.base import SyntheticTask, next_token
from lot_tasks.synthetic.splits import place, require_symbols

if TYPE_CHECKING:
    import torchmetrics


class RandomTokens(SyntheticTask):
    """Independent uniform tokens. floor: ln V in nats, below which only a model that sees its targets can get."""

    name = "random"

    def __init__(self, config: RandomConfig, seed: int) -> None:
        super().__init__(config, seed)
        require_symbols(config.vocab_size, where="vocab_size", got=config.vocab_size)
        self.vocab_size = config.vocab_size
        self.seq_len = config.seq_len
        self.floor = math.log(config.vocab_size)

    def draw(self, rng: np.random.Generator, split: Split, count: int) -> tuple[np.ndarray, np.ndarray]:
        sequence = rng.integers(0, self.vocab_size, (count, self.seq_len + 1))
        return place(rng, split, range(self.vocab_size), *next_token(sequence))

    def metrics(self) -> torchmetrics.MetricCollection:
        return pattern_metrics()
