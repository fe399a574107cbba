"""Fuzzy in-context recall, from MAD: keys and values of several tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lot import IGNORED, BadInput, Split
from lot_tasks.config import FuzzyRecallConfig
from lot_tasks.metrics import answer_metrics, mad_metrics
from lot_tasks.synthetic.base import SyntheticTask
from lot_tasks.synthetic.draws import distinct
from lot_tasks.synthetic.splits import digest, place, require_symbols

if TYPE_CHECKING:
    import torchmetrics


class FuzzyRecall(SyntheticTask):
    """Pairs of a key and its value, each of several different tokens; the last pair is the probe, met before.

    In training, keys have 1 to `key_tokens` tokens, otherwise `key_tokens`; values have 1 to `value_tokens`. Where a
    key was met before, its value is scored, token by token. Examples are filled up from the left with a padding
    token.

    As published: training scores every next token, even the padding; and the place from which on the probe's pair is
    put in can lie beyond the place where pairs end, so that some examples ask for a pair that they never showed.
    """

    name = "fuzzy_recall"
    primary = "token_accuracy"
    published = True

    def __init__(self, config: FuzzyRecallConfig, seed: int) -> None:
        super().__init__(config, seed)
        self.vocab_size = config.vocab_size
        self.seq_len = config.seq_len
        self.key_tokens = config.key_tokens
        self.value_tokens = config.value_tokens
        self.longest = config.key_tokens + config.value_tokens
        self.padding = config.vocab_size - 1
        self.keys = range(self.padding // 2)
        self.values = range(self.padding // 2, self.padding)
        for where, asked, symbols in (
            ("key_tokens", self.key_tokens, self.keys),
            ("value_tokens", self.value_tokens, self.values),
        ):
            if asked > len(symbols):
                raise BadInput(where=where, expected=f"at most {len(symbols)} in this vocabulary", got=asked)
        require_symbols(len(self.values), where="vocab_size", got=config.vocab_size)
        if config.seq_len <= 3 * self.longest:
            raise BadInput(
                where="seq_len", expected=f"more than {3 * self.longest} for pairs that long", got=config.seq_len
            )

    def draw(self, rng: np.random.Generator, split: Split, count: int) -> tuple[np.ndarray, np.ndarray]:
        shortest_key = 1 if split == "train" else self.key_tokens
        probe = self._pairs(rng, count, shortest_key)
        probe_size = probe.key_size + probe.value_size
        limit = self.seq_len - probe_size - self.longest  # no pair begins from here on
        if self.published:
            due = rng.integers(0, self.seq_len - 2 * probe_size)
        else:
            # A pair begins in any stretch of `longest` tokens before the limit, so the probe always gets its turn.
            due = rng.integers(0, limit - self.longest + 1)

        writer = _Writer(count, self.seq_len + 1)
        memory = _Memory(count, self.seq_len // 2, self.value_tokens)  # a pair has two tokens at least
        shown = np.zeros(count, dtype=bool)
        while (unfinished := writer.length < limit).any():
            pair = self._pairs(rng, count, shortest_key)
            pair = pair.where(~shown & (writer.length >= due), probe)
            pair = pair.where(pair.code() == probe.code(), probe)
            pair, again = memory.recall(pair)
            writer.write(pair, unfinished, scored=again)
            memory.keep(pair)
            shown |= unfinished & (pair.code() == probe.code())
        everywhere = np.ones(count, dtype=bool)
        writer.write(probe, everywhere, scored=everywhere)

        sequence, answers = writer.moved_right(self.padding)
        inputs = sequence[:, :-1]
        targets = sequence[:, 1:] if self.published and split == "train" else answers[:, 1:]
        return place(rng, split, self.values, inputs, targets)

    def metrics(self) -> torchmetrics.MetricCollection:
        return mad_metrics(self.vocab_size) if self.published else answer_metrics()

    def symbol(self, token: int) -> str:
        return "_" if token == self.padding else str(token)

    def _pairs(self, rng: np.random.Generator, count: int, shortest_key: int) -> _Pairs:
        """A new pair for every row: sizes drawn uniformly, then tokens in any order without repetition."""
        return _Pairs(
            key=self.keys.start + distinct(rng, count, self.key_tokens, len(self.keys)),
            key_size=rng.integers(shortest_key, self.key_tokens, count, endpoint=True),
            value=self.values.start + distinct(rng, count, self.value_tokens, len(self.values)),
            value_size=rng.integers(1, self.value_tokens, count, endpoint=True),
        )


class FuzzyRecallCorrected(FuzzyRecall):
    """Fuzzy recall that trains on what it tests, and whose last pair was always met before."""

    published = False


class _Pairs(NamedTuple):
    """One pair per row: the first key_size (N,) of key (N, most), the first value_size (N,) of value (N, most)."""

    key: np.ndarray
    key_size: np.ndarray
    value: np.ndarray
    value_size: np.ndarray

    def where(self, rows: np.ndarray, other: _Pairs) -> _Pairs:
        """The pairs of `other` in `rows` (N,) bool, these elsewhere."""
        both = zip(self, other, strict=True)
        return _Pairs(*(np.where(rows if mine.ndim == 1 else rows[:, None], theirs, mine) for mine, theirs in both))

    def code(self) -> np.ndarray:
        """A number (N,) uint64 for each key: equal for equal keys, and (64 bits) for no others."""
        return digest(np.where(np.arange(self.key.shape[1]) < self.key_size[:, None], self.key, -1))


class _Memory:
    """The pairs met so far in each row. A row that is finished may go on collecting: it is not asked again."""

    def __init__(self, rows: int, most: int, value_tokens: int) -> None:
        self.rows = np.arange(rows)
        self.count = 0
        self.codes = np.empty((rows, most), dtype=np.uint64)
        self.values = np.empty((rows, most, value_tokens), dtype=np.int64)
        self.sizes = np.empty((rows, most), dtype=np.int64)

    def keep(self, pair: _Pairs) -> None:
        self.codes[:, self.count] = pair.code()
        self.values[:, self.count] = pair.value
        self.sizes[:, self.count] = pair.value_size
        self.count += 1

    def recall(self, pair: _Pairs) -> tuple[_Pairs, np.ndarray]:
        """The pairs with the value that their key had before, and the rows (N,) bool in which there was one."""
        if self.count == 0:
            return pair, np.zeros(len(self.rows), dtype=bool)
        same = self.codes[:, : self.count] == pair.code()[:, None]
        again, earlier = same.any(axis=1), same.argmax(axis=1)
        before = pair._replace(value=self.values[self.rows, earlier], value_size=self.sizes[self.rows, earlier])
        return pair.where(again, before), again


class _Writer:
    """Rows of tokens and of their targets, written from left to right, each row at a pace of its own."""

    def __init__(self, rows: int, width: int) -> None:
        self.width = width
        self.tokens = np.zeros((rows, width + 1), dtype=np.int64)  # the last column takes what is not to be written
        self.answers = np.full((rows, width + 1), IGNORED, dtype=np.int64)
        self.length = np.zeros(rows, dtype=np.int64)

    def write(self, pair: _Pairs, rows: np.ndarray, scored: np.ndarray) -> None:
        """Append the pair in `rows`; its value is a target in the rows `scored`."""
        self._append(self.tokens, pair.key, pair.key_size, rows)
        self.length += np.where(rows, pair.key_size, 0)
        self._append(self.tokens, pair.value, pair.value_size, rows)
        self._append(self.answers, pair.value, pair.value_size, rows & scored)
        self.length += np.where(rows, pair.value_size, 0)

    def moved_right(self, padding: int) -> tuple[np.ndarray, np.ndarray]:
        """Tokens and targets (N, width), moved to the right end; what is left over holds `padding` and no target."""
        places = np.arange(self.width) - (self.width - self.length)[:, None]
        columns = np.where(places >= 0, places, self.width)
        self.tokens[:, self.width] = padding
        self.answers[:, self.width] = IGNORED
        return np.take_along_axis(self.tokens, columns, axis=1), np.take_along_axis(self.answers, columns, axis=1)

    def _append(self, to: np.ndarray, tokens: np.ndarray, size: np.ndarray, rows: np.ndarray) -> None:
        step = np.arange(tokens.shape[1])
        inside = rows[:, None] & (step < size[:, None])
        np.put_along_axis(to, np.where(inside, self.length[:, None] + step, self.width), tokens, axis=1)
