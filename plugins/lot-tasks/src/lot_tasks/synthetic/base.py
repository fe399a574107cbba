"""What synthetic tasks share: numbered examples drawn in keyed blocks, splits, batches, and a text form for people."""

from __future__ import annotations

import abc
import functools
from typing import Any

import numpy as np
import torch

from lot import IGNORED, BadInput, Batch, Split, Task
from lot.random import numpy_generator, permutation
from lot_tasks.batches import to_batch
from lot_tasks.config import Examples

BLOCK = 1024
"""Examples drawn at once, by a generator keyed by the block: no example depends on the batch that it falls into."""


class SyntheticTask(Task):
    """Examples that are drawn rather than stored. Example n of a split is a pure function of (seed, split, n).

    Batch i of size s holds the examples i * s to (i + 1) * s - 1; the last batch of a finite split may be shorter, and
    one beyond it is an IndexError. A finite training set begins again without end, in another order each time.

    name: keys the randomness.
    """

    name: str

    def __init__(self, config: Examples, seed: int) -> None:
        self.seed = seed
        self._sizes: dict[Split, int | None] = {
            "train": config.train_examples,
            "validation": config.validation_examples,
            "test": config.test_examples,
        }
        self._block = functools.lru_cache(maxsize=4)(self._draw_block)
        self._stored: dict[Split, tuple[np.ndarray, np.ndarray]] = {}

    @abc.abstractmethod
    def draw(self, rng: np.random.Generator, split: Split, count: int) -> tuple[np.ndarray, np.ndarray]:
        """`count` examples of a split: inputs (count, T) int64 and targets (count, T) int64 with -100 where not scored.

        No inputs of one split may ever come up in another: see `lot_tasks.synthetic.splits`.
        """

    def symbol(self, token: int) -> str:
        """The text that stands for a token."""
        return str(token)

    def length(self, split: Split) -> int | None:
        return self._sizes[split]

    def batch(self, split: Split, index: int, size: int, device: torch.device | str = "cpu") -> Batch:
        first, stop = index * size, (index + 1) * size
        count = self._sizes[split]
        if index < 0 or size < 1:
            raise IndexError(f"{self.name}: {split} batch {index} of size {size}: expected index >= 0 and size >= 1")
        if count is None:
            return to_batch(*self._endless(split, first, stop), device)
        inputs, targets = self._all(split, count)
        if split == "train":
            numbers = self._shuffled(np.arange(first, stop), count)
            return to_batch(inputs[numbers], targets[numbers], device)
        if first >= count:
            raise IndexError(f"{self.name}: {split} batch {index} of size {size}: the split has {count} examples")
        return to_batch(inputs[first:stop], targets[first:stop], device)

    def decode(self, ids: Any) -> str:
        return " ".join(self.symbol(int(token)) for token in ids)

    def encode(self, text: str) -> list[int]:
        """Symbols between white space as token ids."""
        known = {self.symbol(token): token for token in range(self.vocab_size)}
        words = text.split()
        for word in words:
            if word not in known:
                shown = [self.symbol(0), self.symbol(1), "...", self.symbol(self.vocab_size - 1)]
                raise BadInput(f"{word!r} is no token of {self.name}", expected=f"tokens out of {' '.join(shown)}")
        return [known[word] for word in words]

    def example(self, rng: np.random.Generator) -> str:
        """One training example in two aligned rows: the inputs, and the targets below them (. where nothing is scored)."""
        batch = self.batch("train", int(rng.integers(2**20)), 1)
        read = [self.symbol(int(token)) for token in batch.inputs[0]]
        asked = ["." if token == IGNORED else self.symbol(int(token)) for token in batch.targets[0]]
        width = max(map(len, read + asked)) + 1
        columns = max(1, 96 // width)

        def row(label: str, symbols: list[str]) -> str:
            return f"{label:<7}" + "".join(f"{symbol:>{width}}" for symbol in symbols)

        lines = []
        for start in range(0, len(read), columns):
            part = slice(start, start + columns)
            lines += [row("input", read[part]), row("target", asked[part]), ""]
        return "\n".join(lines[:-1])

    def _draw_block(self, split: Split, block: int) -> tuple[np.ndarray, np.ndarray]:
        rng = numpy_generator(self.seed, "task", self.name, split, block)
        inputs, targets = self.draw(rng, split, BLOCK)
        kind = np.int16 if self.vocab_size <= np.iinfo(np.int16).max else np.int32
        return inputs.astype(kind), targets.astype(kind)

    def _endless(self, split: Split, first: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
        parts = []
        for block in range(first // BLOCK, (stop - 1) // BLOCK + 1):
            inputs, targets = self._block(split, block)
            rows = slice(max(first - block * BLOCK, 0), stop - block * BLOCK)
            parts.append((inputs[rows], targets[rows]))
        if len(parts) == 1:
            return parts[0]
        return np.concatenate([inputs for inputs, _ in parts]), np.concatenate([targets for _, targets in parts])

    def _all(self, split: Split, count: int) -> tuple[np.ndarray, np.ndarray]:
        if split not in self._stored:
            self._stored[split] = self._endless(split, 0, count)
        return self._stored[split]

    def _shuffled(self, numbers: np.ndarray, count: int) -> np.ndarray:
        """Examples by their `numbers` in an endless walk through a training set of `count`, another order each time."""
        epochs, places = np.divmod(numbers, count)
        for epoch in np.unique(epochs):
            now = epochs == epoch
            places[now] = permutation(places[now], count, self.seed, "task", self.name, "order", int(epoch))
        return places


def next_token(sequence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """inputs (N, T) and targets (N, T) that ask for the next token everywhere, from sequence (N, T + 1)."""
    return sequence[:, :-1], sequence[:, 1:].copy()
