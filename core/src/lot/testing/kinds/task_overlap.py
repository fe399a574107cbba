"""Splits that are apart word for word may still share nearly everything: windows moved by a token, or copies but for one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lot.contracts import Batch, Split, Task
from lot.random import numpy_generator
from lot.testing.case import Case
from lot.testing.failure import KitFailure, NotApplicable
from lot.testing.kinds.task_batches import SPLITS, batch_size, make_task

TOKENS = 1 << 19
"""Of each split, at most so many tokens are read; of a longer one, batches all over it, drawn from the seed of the case."""
ENDLESS = 10**6
"""Batches of an endless training split among which those that are read lie."""
BITS = 20.0
"""How improbable a coincidence must be, beside the number of pairs, in bits."""
SHARE = 0.005
"""Of the examples of a split: more than this, and more than one, must be near those of another to count."""
REPEATED = 0.25
"""Of a task that declares that its data repeat themselves, this share of a split may be near another."""
CHANGED = 16
"""One token of so many may differ in a copy."""


def batches(case: Case, task: Task, split: Split) -> Iterator[Batch]:
    """All batches of a split, or as many as `TOKENS` allows; then it is told how many of its examples they hold."""
    length = task.length(split)
    size = batch_size(task, split, 64)
    wanted = max(1, TOKENS // (size * task.seq_len))
    there = ENDLESS if length is None else -(-length // size)
    if there <= wanted:
        yield from (task.batch(split, i, size) for i in range(there))
        return
    of = "no end" if length is None else str(length)
    case.tell(f"{split}: {wanted * size} examples were read, drawn from seed {case.seed}; it has {of}")
    rng = numpy_generator(case.seed, "kit", "batches", split)
    for index in (0, *sorted((1 + rng.choice(there - 1, wanted - 1, replace=False)).tolist())):
        yield task.batch(split, index, size)


def near(case: Case) -> None:
    """No example of validation and test is a window of another split that is moved, or a copy with few tokens changed.

    Where the task declares that its data repeat themselves, the share is told, and a large one fails.
    """
    task = make_task(case)
    tokens = {split: np.concatenate([b.inputs.numpy() for b in batches(case, task, split)]) for split in SPLITS}
    pairs: tuple[tuple[Split, Split], ...] = (("train", "validation"), ("train", "test"), ("validation", "test"))
    for first, second in pairs:
        for how, rows in _alike(tokens[first], tokens[second]):
            example = f", such as {task.decode(tokens[second][rows[0]])[:60]!r}" if rows else ""
            require_few(
                case,
                task,
                f"examples of {second} that are {how} one of {first}, moved or with few tokens changed",
                len(rows),
                len(tokens[second]),
                example,
            )


def require_few(case: Case, task: Task, what: str, alike: int, examples: int, example: str) -> None:
    """Raise KitFailure unless so few examples are alike that it is chance, or what the task declares, which is told."""
    if alike <= max(1, SHARE * examples):
        return
    share = f"{alike} of {examples}"
    if task.repeats and alike <= REPEATED * examples:
        case.tell(f"{what}: {share} ({task.repeats})")
        return
    raise KitFailure(
        what,
        expected=f"at most a quarter ({task.repeats})" if task.repeats else f"none, or one by chance, of {examples}",
        got=f"{share}{example}",
        cause="windows that overlap across the cut of a corpus, or splits drawn from one pool: the test score measures "
        "training data",
    )


def _alike(known: np.ndarray, examples: np.ndarray) -> list[tuple[str, list[int]]]:
    """known, examples: (N, T) and (M, T) tokens of two splits. Rows of the latter that are near one of the former, and how."""
    T = known.shape[1]
    bits = _bits(known) / 2  # per token, halved since tokens depend on each other
    needed = BITS + float(np.log2(len(known) * T) + np.log2(len(examples) * T))
    run = max(8, T // 2, int(np.ceil(needed / bits)) if bits > 0 else T + 1)
    if run > T:
        raise NotApplicable(
            f"{T} tokens of {bits:.2g} bits say too little: examples of two splits may be near by chance"
        )
    return [
        ("a window of", _shifted(known, examples, run)),
        ("nearly a copy of", _copies(known, examples, bits, needed)),
    ]


def _bits(tokens: np.ndarray) -> float:
    """The mean entropy of a token, given its position, in bits."""
    total = 0.0
    for column in tokens.T:
        share = np.unique(column, return_counts=True)[1] / len(column)
        total -= float((share * np.log2(share)).sum())
    return total / int(tokens.shape[1])


@dataclass(frozen=True)
class _Index:
    """Hashes in increasing order, and where each stands."""

    hashes: np.ndarray
    order: np.ndarray

    @classmethod
    def of(cls, hashes: np.ndarray) -> _Index:
        order = np.argsort(hashes.ravel(), kind="stable")
        return cls(hashes.ravel()[order], order)

    def find(self, hashes: np.ndarray, number: int) -> np.ndarray:
        """The place of the hash number `number` that equals each, or -1."""
        at = np.searchsorted(self.hashes, hashes) + number
        there = at < len(self.hashes)
        at = np.minimum(at, len(self.hashes) - 1)
        return np.where(there & (self.hashes[at] == hashes), self.order[at], -1)


def _hashes(tokens: np.ndarray, run: int) -> np.ndarray:
    """(N, T - run + 1) hashes of every run of so many tokens of (N, T)."""
    weights = np.random.default_rng(11).integers(1, 2**63, size=run, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    places = tokens.shape[1] - run + 1
    found = np.zeros((len(tokens), places), dtype=np.uint64)
    mixed = (tokens.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(29)
    for i in range(run):
        found += mixed[:, i : i + places] * weights[i]
    return found


def _shifted(known: np.ndarray, examples: np.ndarray, run: int) -> list[int]:
    """Rows of `examples` that share `run` tokens or more with one of `known`, at another place, up to the ends of both."""
    T = known.shape[1]
    places = T - run + 1
    index, hashes = _Index.of(_hashes(known, run)), _hashes(examples, run)
    ordered = np.sort(hashes, axis=1)
    periodic = (ordered[:, 1:] == ordered[:, :-1]).any(1)  # repeats itself: another may do so in the same way
    rows = []
    for row in np.flatnonzero((index.find(hashes, 0) >= 0).any(1) & ~periodic):
        for offset, place in enumerate(index.find(hashes[row], 0)):
            other, start = divmod(int(place), places)
            shift = offset - start
            if place >= 0 and shift and _same_overlap(known[other], examples[row], shift):
                rows.append(int(row))
                break
    return rows


def _same_overlap(known: np.ndarray, example: np.ndarray, shift: int) -> bool:
    a, b = (known, example) if shift > 0 else (example, known)
    return bool(np.array_equal(a[: len(a) - abs(shift)], b[abs(shift) :]))


def _copies(known: np.ndarray, examples: np.ndarray, bits: float, needed: float) -> list[int]:
    """Rows of `examples` that differ from one of `known` in a few tokens at most."""
    T = known.shape[1]
    few = max(1, T // CHANGED)
    if (T - few) * bits < needed:
        return []
    near = np.zeros(len(examples), dtype=bool)
    # Of few + 1 parts one is equal, wherever the tokens that differ are.
    for part in np.array_split(np.arange(T), few + 1):
        index, hashes = _Index.of(_hashes(known[:, part], len(part))), _hashes(examples[:, part], len(part))[:, 0]
        for number in range(4):
            place = index.find(hashes, number)
            there = np.flatnonzero((place >= 0) & ~near)
            near[there] = (known[place[there]] != examples[there]).sum(1) <= few
    return np.flatnonzero(near).tolist()
