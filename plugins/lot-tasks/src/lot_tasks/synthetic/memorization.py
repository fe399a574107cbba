"""Memorization, from MAD: facts that only the parameters can hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lot import IGNORED, Split
from lot.random import numpy_generator
from lot_tasks.config import MemorizationConfig
from lot_tasks.metrics import mad_metrics
from lot_tasks.synthetic.base import SyntheticTask
from lot_tasks.synthetic.splits import place, require_symbols

if TYPE_CHECKING:
    import torchmetrics


class Memorization(SyntheticTask):
    """Keys, each followed by a question, at which the key's value is asked for; values never stand in the inputs.

    The values of keys are the same in every example and every split: they are what is to be memorized. The splits
    differ in their sequences of keys. The values are drawn once from the seed, no two keys have the same.
    """

    name = "memorization"
    primary = "token_accuracy"

    def __init__(self, config: MemorizationConfig, seed: int) -> None:
        super().__init__(config, seed)
        self.vocab_size = config.vocab_size
        self.seq_len = config.seq_len
        self.question = config.vocab_size - 1
        self.keys = range(self.question // 2)
        require_symbols(len(self.keys), where="vocab_size", got=config.vocab_size)
        values = np.arange(self.question // 2, self.question)
        rng = numpy_generator(seed, "task", self.name, "values")
        self.value_of = rng.permutation(values)[: len(self.keys)]  # (keys,)

    def draw(self, rng: np.random.Generator, split: Split, count: int) -> tuple[np.ndarray, np.ndarray]:
        keys = rng.integers(0, len(self.keys), (count, self.seq_len // 2))
        keys, _ = place(rng, split, self.keys, keys, keys)
        inputs = np.full((count, self.seq_len), self.question)
        inputs[:, 0::2] = keys
        targets = np.full_like(inputs, IGNORED)
        targets[:, 1::2] = self.value_of[keys]
        return inputs, targets

    def metrics(self) -> torchmetrics.MetricCollection:
        return mad_metrics(self.vocab_size)

    def symbol(self, token: int) -> str:
        return "?" if token == self.question else str(token)
