"""Train, validation and test examples that cannot coincide, without a list of what was drawn and without rejection.

Every row of tokens belongs to one split, by its content alone. Call the tokens of a range of size n interchangeable
when replacing each token x of that range by (x + s) mod n gives an equally likely example. Turn a row back until its
first interchangeable token is 0, and call the hash of that row its digest. Then

    class(row) = (first interchangeable token + digest) mod n

is a function of the row, all n classes are equally likely, and turning the row by s moves it to class(row) + s. So a
row is drawn freely and then turned into the split that wants it. The classes are dealt out once and for all,
independent of any seed: training data of one seed never meets test data of another.
"""

from __future__ import annotations

import numpy as np

from lot import BadInput, Split

SMALLEST = 4
"""The fewest interchangeable tokens that still leave half of all examples for training."""


def classes(split: Split, size: int) -> range:
    """The classes of a split: max(1, size // 8) of `size` each for test and validation, the rest for training."""
    held = max(1, size // 8)
    return {"test": range(held), "validation": range(held, 2 * held), "train": range(2 * held, size)}[split]


def require_symbols(count: int, *, where: str, got: object) -> None:
    """Raises BadInput unless `count` interchangeable tokens are enough to divide; `where` is the option to change."""
    if count < SMALLEST:
        raise BadInput(
            where=where,
            expected=f"a value that leaves at least {SMALLEST} symbols to divide among the splits",
            got=f"{got}, which leaves {max(count, 0)}",
        )


def place(
    rng: np.random.Generator, split: Split, symbols: range, inputs: np.ndarray, targets: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Rows turned into `split`: inputs (N, T) int64 and targets (N, T) int64, both turned by the same amount.

    symbols: the interchangeable tokens; every row of inputs holds one at least. Tokens outside (and -100) stay.
    """
    size = len(symbols)
    wanted = classes(split, size)
    turn = (rng.integers(wanted.start, wanted.stop, len(inputs)) - class_of(inputs, symbols)) % size
    return _turned(inputs, symbols, turn), _turned(targets, symbols, turn)


def class_of(inputs: np.ndarray, symbols: range) -> np.ndarray:
    """The class (N,) int64 of every row of inputs (N, T)."""
    size = len(symbols)
    inside = (inputs >= symbols.start) & (inputs < symbols.stop)
    first = inputs[np.arange(len(inputs)), inside.argmax(axis=1)] - symbols.start
    canonical = _turned(inputs, symbols, (size - first) % size)
    kind: np.ndarray = (first + (digest(canonical) % np.uint64(size)).astype(np.int64)) % size
    return kind


def digest(rows: np.ndarray) -> np.ndarray:
    """A 64-bit hash (N,) uint64 of every row of `rows` (N, T) integers."""
    # Mixed with its position, each token adds a term of its own, so that order matters although the sum has none.
    position = np.arange(1, rows.shape[1] + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    terms: np.ndarray = _murmur(rows.astype(np.uint64) + position)
    return _murmur(terms.sum(axis=1, dtype=np.uint64))


def _turned(rows: np.ndarray, symbols: range, turn: np.ndarray) -> np.ndarray:
    """The rows with every symbol x replaced by (x + turn) mod n, counted from the first symbol; turn (N,) in [0, n)."""
    inside = (rows >= symbols.start) & (rows < symbols.stop)
    moved = rows + turn[:, None]
    return np.where(inside, moved - len(symbols) * (moved >= symbols.stop), rows)


def _murmur(x: np.ndarray) -> np.ndarray:
    """MurmurHash3's 64-bit finalizer (Appleby, 2011)."""
    x = (x ^ (x >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    x = (x ^ (x >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    mixed: np.ndarray = x ^ (x >> np.uint64(33))
    return mixed
