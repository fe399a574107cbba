"""In-context recall and noisy in-context recall, from MAD."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lot import IGNORED, Split
from lot_tasks.config import NoisyRecallConfig, RecallConfig
from lot_tasks.metrics import answer_metrics, mad_metrics
from lot_tasks.synthetic.base import SyntheticTask
from lot_tasks.synthetic.splits import place, require_symbols

if TYPE_CHECKING:
    import torchmetrics


class InContextRecall(SyntheticTask):
    """Pairs of a key and its value; a key that comes again has the value that it had before in that example.

    The value of a key met before is asked for at the key. The last pair repeats one of the keys met so far, each
    equally likely. As published, training scores every next token, also those that cannot be predicted, while
    validation and test score the repeated keys.
    """

    name = "in_context_recall"
    primary = "token_accuracy"
    published = True

    def __init__(self, config: RecallConfig | NoisyRecallConfig, seed: int) -> None:
        super().__init__(config, seed)
        self.vocab_size = config.vocab_size
        self.seq_len = config.seq_len - 1
        self.pairs = config.seq_len // 2
        noise_tokens, self.frac_noise = 0, 0.0
        if isinstance(config, NoisyRecallConfig):
            noise_tokens, self.frac_noise = config.noise_vocab_size, config.frac_noise
        meaningful = config.vocab_size - noise_tokens
        self.keys = range(meaningful // 2)
        self.values = range(meaningful // 2, meaningful)
        self.noise = range(meaningful, config.vocab_size)
        require_symbols(2 * len(self.keys), where="vocab_size", got=config.vocab_size)
        require_symbols(len(self.values), where="vocab_size", got=config.vocab_size)

    def draw(self, rng: np.random.Generator, split: Split, count: int) -> tuple[np.ndarray, np.ndarray]:
        rows = np.arange(count)[:, None]
        keys = rng.integers(0, len(self.keys), (count, self.pairs))
        noisy = self._noisy(rng, count)
        first = np.full((count, len(self.keys) + 1), self.pairs)  # the pair in which a key comes first
        shown = np.where(noisy, len(self.keys), keys)[:, :-1]  # noise counts as one more key, never looked at
        np.minimum.at(first, (rows, shown), np.arange(self.pairs - 1))
        present = first[:, :-1] < self.pairs
        keys[:, -1] = np.where(present, rng.random(present.shape), -1.0).argmax(axis=1)

        value_of = rng.integers(self.values.start, self.values.stop, (count, len(self.keys)))
        sequence = np.empty((count, 2 * self.pairs), dtype=np.int64)
        sequence[:, 0::2] = keys
        sequence[:, 1::2] = value_of[rows, keys]
        again = ~noisy & (first[rows, keys] < np.arange(self.pairs))
        if self.frac_noise:
            noise = rng.integers(self.noise.start, self.noise.stop, sequence.shape)
            sequence = np.where(noisy.repeat(2, axis=1), noise, sequence)
        inputs, targets = sequence[:, :-1], sequence[:, 1:].copy()
        if not (self.published and split == "train"):
            targets[:, 0::2][~again] = IGNORED
            targets[:, 1::2] = IGNORED
        return place(rng, split, self.values, inputs, targets)

    def metrics(self) -> torchmetrics.MetricCollection:
        return mad_metrics(self.vocab_size) if self.published else answer_metrics()

    def _noisy(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """Which pairs (N, pairs) are noise: neither the last nor one more, so that there is something to recall."""
        noisy = rng.random((count, self.pairs)) < self.frac_noise
        noisy[np.arange(count), rng.integers(0, self.pairs - 1, count)] = False
        noisy[:, -1] = False
        return noisy


class InContextRecallCorrected(InContextRecall):
    """In-context recall that trains on what it tests: the values of keys met before."""

    published = False


class NoisyRecall(InContextRecall):
    """In-context recall in which some pairs are two noise tokens instead, from a vocabulary of their own."""

    name = "noisy_recall"


class NoisyRecallCorrected(NoisyRecall):
    """Noisy recall that trains on what it tests: the values of keys met before."""

    published = False
