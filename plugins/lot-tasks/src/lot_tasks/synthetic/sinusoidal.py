"""Sums of sinusoids, quantized to tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lot import BadInput, Split
from lot_tasks.config import SinusoidalConfig
from lot_tasks.metrics import pattern_metrics
from lot_tasks.synthetic.base import SyntheticTask, next_token
from lot_tasks.synthetic.splits import classes, digest

if TYPE_CHECKING:
    import torchmetrics

_CLASSES = 8
_ROUNDS = 200  # after which a split is taken to be empty; a row lands in a split with probability 1/8 at least


class Sinusoidal(SyntheticTask):
    """The mean of K sines of t tokens, with frequencies (cycles per token) and phases drawn uniformly.

    [-1, 1] is divided evenly into V levels, the tokens. All tokens depend on all parameters, so no token is free to
    carry the split: rows are drawn until enough of them have a digest of the split.
    """

    name = "sinusoidal"

    def __init__(self, config: SinusoidalConfig, seed: int) -> None:
        super().__init__(config, seed)
        self.vocab_size = config.vocab_size
        self.seq_len = config.seq_len
        self.components = config.components
        self.frequencies = (1 / config.max_period, 1 / config.min_period)

    def draw(self, rng: np.random.Generator, split: Split, count: int) -> tuple[np.ndarray, np.ndarray]:
        wanted = classes(split, _CLASSES)
        found: list[np.ndarray] = []
        missing = count
        for _ in range(_ROUNDS):
            rows = self._signals(rng, missing * _CLASSES // len(wanted) + 8)
            kind = digest(rows[:, :-1]) % np.uint64(_CLASSES)
            rows = rows[(kind >= wanted.start) & (kind < wanted.stop)][:missing]
            found.append(rows)
            missing -= len(rows)
            if missing == 0:
                return next_token(np.concatenate(found))
        raise BadInput(
            where="vocab_size",
            expected="enough levels and tokens for signals that differ",
            got=f"{self.vocab_size} levels, {self.seq_len} tokens",
        )

    def metrics(self) -> torchmetrics.MetricCollection:
        return pattern_metrics()

    def _signals(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Quantized signals (count, T + 1) int64."""
        shape = (count, self.components, 1)
        frequency = rng.uniform(*self.frequencies, shape)
        phase = rng.uniform(0, 2 * np.pi, shape)
        time = np.arange(self.seq_len + 1)
        signal = np.sin(2 * np.pi * frequency * time + phase).mean(axis=1)  # (count, T + 1) in [-1, 1]
        level: np.ndarray = np.minimum((signal + 1) / 2 * self.vocab_size, self.vocab_size - 1)
        return level.astype(np.int64)
