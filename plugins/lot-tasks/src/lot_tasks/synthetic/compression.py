"""Compression, from MAD: symbols that a state of bounded size has to hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lot import IGNORED, Split
from lot_tasks.config import CompressionConfig
from lot_tasks.metrics import answer_metrics, mad_metrics
from lot_tasks.synthetic.base import SyntheticTask
from lot_tasks.synthetic.splits import place, require_symbols

if TYPE_CHECKING:
    import torchmetrics


class Compression(SyntheticTask):
    """Symbols and a compression token, to be given back in place: targets equal inputs, noise and all, as published.

    MAD trains an auto-encoder on this, which decodes every position from the last one's vector. A decoder that
    answers at each position has the answer in its input, so this form tests nothing but the wiring.
    """

    name = "compression"
    primary = "token_accuracy"
    causal = False  # the answer is in the input anyway

    def __init__(self, config: CompressionConfig, seed: int) -> None:
        super().__init__(config, seed)
        symbols = config.vocab_size - 1 - config.noise_vocab_size
        require_symbols(symbols, where="vocab_size", got=config.vocab_size)
        self.vocab_size = config.vocab_size
        self.symbols = range(symbols)
        self.noise = range(symbols, config.vocab_size - 1)
        self.frac_noise = config.frac_noise
        self.compressed = config.seq_len - 1
        self.seq_len = config.seq_len
        self.token = config.vocab_size - 1

    def draw(self, rng: np.random.Generator, split: Split, count: int) -> tuple[np.ndarray, np.ndarray]:
        symbols, _ = self._symbols(rng, count)
        inputs = np.concatenate([symbols, np.full((count, 1), self.token)], axis=1)
        return place(rng, split, self.symbols, inputs, inputs)

    def metrics(self) -> torchmetrics.MetricCollection:
        return mad_metrics(self.vocab_size)

    def symbol(self, token: int) -> str:
        return "|" if token == self.token else str(token)

    def _symbols(self, rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        """What is to be compressed (N, n), and where it is noise; the first token never is."""
        shape = (count, self.compressed)
        symbols = rng.integers(0, len(self.symbols), shape)
        noisy = rng.random(shape) < self.frac_noise
        noisy[:, 0] = False
        if self.frac_noise:
            symbols = np.where(noisy, rng.integers(self.noise.start, self.noise.stop, shape), symbols)
        return symbols, noisy


class CompressionCorrected(Compression):
    """n symbols, then n compression tokens, at which the symbols are asked for in order; noise is not scored.

    T = 2 n. How it carries the symbols past the first compression token is up to a mechanism: attention can look back at
    them, a mechanism of bounded state has to compress them.
    """

    causal = True

    def __init__(self, config: CompressionConfig, seed: int) -> None:
        super().__init__(config, seed)
        self.seq_len = 2 * self.compressed

    def draw(self, rng: np.random.Generator, split: Split, count: int) -> tuple[np.ndarray, np.ndarray]:
        symbols, noisy = self._symbols(rng, count)
        inputs = np.concatenate([symbols, np.full_like(symbols, self.token)], axis=1)
        targets = np.concatenate([np.full_like(symbols, IGNORED), np.where(noisy, IGNORED, symbols)], axis=1)
        return place(rng, split, self.symbols, inputs, targets)

    def metrics(self) -> torchmetrics.MetricCollection:
        return answer_metrics()
