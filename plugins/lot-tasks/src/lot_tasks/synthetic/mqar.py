"""Multi-query associative recall, from Zoology."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lot import IGNORED, BadInput, Split
from lot_tasks.config import MQARConfig
from lot_tasks.metrics import answer_metrics
from lot_tasks.synthetic.base import SyntheticTask
from lot_tasks.synthetic.draws import distinct, distinct_weighted
from lot_tasks.synthetic.splits import place, require_symbols

if TYPE_CHECKING:
    import torchmetrics


class MQAR(SyntheticTask):
    """Key-value pairs, then each key once more at a place of its own, where its value is asked for.

    Keys are drawn without replacement from 1 .. V/2 - 1, values from V/2 .. V - 1. After the pairs, every other
    position is a slot that may hold a query; keys take slots without replacement, slot i with probability
    proportional to a i^(a-1). The value is the target at the query. All other positions after the pairs are filled
    with random tokens: in the published form of the whole vocabulary, so that a fill can be one of the keys and look
    like a query, which is not scored.
    """

    name = "mqar"
    primary = "token_accuracy"

    def __init__(self, config: MQARConfig, seed: int) -> None:
        super().__init__(config, seed)
        self.values = range(config.vocab_size // 2, config.vocab_size)
        self.keys = range(1, config.vocab_size // 2)
        if config.kv_pairs > len(self.keys):
            raise BadInput(
                where="vocab_size",
                expected=f"more than {2 * config.kv_pairs + 1} for that many keys",
                got=config.vocab_size,
            )
        require_symbols(len(self.values), where="vocab_size", got=config.vocab_size)
        self.vocab_size = config.vocab_size
        self.seq_len = config.seq_len
        self.pairs = config.kv_pairs
        slots = np.arange(1, (config.seq_len - 2 * config.kv_pairs) // 2 + 1, dtype=np.float64)
        self.slot_weights = config.power * slots ** (config.power - 1)

    def draw(self, rng: np.random.Generator, split: Split, count: int) -> tuple[np.ndarray, np.ndarray]:
        keys = self.keys.start + distinct(rng, count, self.pairs, len(self.keys))
        values = self.values.start + distinct(rng, count, self.pairs, len(self.values))
        slots = distinct_weighted(rng, count, self.pairs, self.slot_weights)
        inputs = np.empty((count, self.seq_len), dtype=np.int64)
        context = 2 * self.pairs
        inputs[:, 0:context:2] = keys
        inputs[:, 1:context:2] = values
        inputs[:, context:] = self.fill(rng, keys, self.seq_len - context)
        queries = context + 2 * slots
        np.put_along_axis(inputs, queries, keys, axis=1)
        targets = np.full_like(inputs, IGNORED)
        np.put_along_axis(targets, queries, values, axis=1)
        return place(rng, split, self.values, inputs, targets)

    def fill(self, rng: np.random.Generator, keys: np.ndarray, length: int) -> np.ndarray:
        """Tokens (N, length) for the positions that ask nothing, given the keys (N, pairs) of each row."""
        return rng.integers(0, self.vocab_size, (len(keys), length))

    def metrics(self) -> torchmetrics.MetricCollection:
        return answer_metrics()


class MQARCorrected(MQAR):
    """MQAR whose fills are never a key of their row: whatever repeats a key is a query, and is scored."""

    def fill(self, rng: np.random.Generator, keys: np.ndarray, length: int) -> np.ndarray:
        numbers = rng.integers(0, self.vocab_size - self.pairs, (len(keys), length))
        for key in np.sort(keys, axis=1).T:  # number n stands for the n-th token that is no key
            numbers += numbers >= key[:, None]
        return numbers
