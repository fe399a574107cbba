"""A random pattern of tokens, repeated, with noise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lot import IGNORED, Split
from lot_tasks.config import PeriodicConfig
from lot_tasks.metrics import pattern_metrics
from lot_tasks.synthetic.base import SyntheticTask, next_token
from lot_tasks.synthetic.splits import place, require_symbols

if TYPE_CHECKING:
    import torchmetrics


class Periodic(SyntheticTask):
    """`period` tokens drawn uniformly and repeated; each token is then redrawn with probability `noise`.

    From the second period on a token can be predicted with probability at least 1 - noise; the first period is
    unpredictable and not scored, unless `score` is "all".
    """

    name = "periodic"

    def __init__(self, config: PeriodicConfig, seed: int) -> None:
        super().__init__(config, seed)
        require_symbols(config.vocab_size, where="vocab_size", got=config.vocab_size)
        self.vocab_size = config.vocab_size
        self.seq_len = config.seq_len
        self.period = config.period
        self.noise = config.noise
        self.repeats_only = config.score == "repeats"

    def draw(self, rng: np.random.Generator, split: Split, count: int) -> tuple[np.ndarray, np.ndarray]:
        pattern = rng.integers(0, self.vocab_size, (count, self.period))
        sequence = pattern[:, np.arange(self.seq_len + 1) % self.period]
        noisy = rng.random(sequence.shape) < self.noise
        sequence = np.where(noisy, rng.integers(0, self.vocab_size, sequence.shape), sequence)
        inputs, targets = place(rng, split, range(self.vocab_size), *next_token(sequence))
        if self.repeats_only:
            targets[:, : self.period - 1] = IGNORED
        return inputs, targets

    def metrics(self) -> torchmetrics.MetricCollection:
        return pattern_metrics()
