"""Copy-reverse: the first half of a sequence, a delimiter, and the first half backwards."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lot import IGNORED, Split
from lot_tasks.config import CopyReverseConfig
from lot_tasks.metrics import answer_metrics
from lot_tasks.synthetic.base import SyntheticTask, next_token
from lot_tasks.synthetic.splits import place, require_symbols

if TYPE_CHECKING:
    import torchmetrics

DELIMITER = 0


class CopyReverse(SyntheticTask):
    """x_1 .. x_n, delimiter, x_n .. x_1 with n = seq_len / 2; symbols x are drawn uniformly from 1 .. V - 1.

    Predicting the next token, the first n targets are the unpredictable x_2 .. x_n and the delimiter, the last n the
    answer. Metrics: `loss` over the scored targets; `exact_match` and `token_accuracy` over the answer, whatever
    is scored.
    """

    name = "copy_reverse"
    primary = "exact_match"

    def __init__(self, config: CopyReverseConfig, seed: int) -> None:
        super().__init__(config, seed)
        require_symbols(config.vocab_size - 1, where="vocab_size", got=config.vocab_size)
        self.vocab_size = config.vocab_size
        self.seq_len = config.seq_len
        self.half = config.seq_len // 2
        self.answer_only = config.score == "answer"

    def draw(self, rng: np.random.Generator, split: Split, count: int) -> tuple[np.ndarray, np.ndarray]:
        half = rng.integers(1, self.vocab_size, (count, self.half))
        delimiter = np.full((count, 1), DELIMITER)
        inputs, targets = next_token(np.concatenate([half, delimiter, half[:, ::-1]], axis=1))
        inputs, targets = place(rng, split, range(1, self.vocab_size), inputs, targets)
        if self.answer_only:
            targets[:, : self.half] = IGNORED
        return inputs, targets

    def metrics(self) -> torchmetrics.MetricCollection:
        return answer_metrics(start=self.half)

    def symbol(self, token: int) -> str:
        return "|" if token == DELIMITER else str(token)
