"""What the checks of a task share: how it is built, and how its batches are compared."""

from __future__ import annotations

import hashlib

import torch

from lot.contracts import Batch, Split, Task
from lot.testing.case import Case
from lot.testing.failure import KitFailure

SPLITS: tuple[Split, ...] = ("train", "validation", "test")
SIZE = 8
"""Examples in a batch, where the split has as many."""


def make_task(case: Case, seed: int = 0) -> Task:
    """The task of the case, drawing from `seed`. Raises KitFailure where the factory gives anything else."""
    task = case.build(seed)
    if not isinstance(task, Task):
        raise KitFailure("factory", expected="a lot.Task", got=type(task).__name__)
    return task


def same(a: Batch, b: Batch) -> bool:
    """Whether two batches are bit-equal."""
    pairs = list(zip(a, b, strict=True))
    if any((x is None) != (y is None) for x, y in pairs):
        return False
    return all(torch.equal(x, y) for x, y in pairs if x is not None and y is not None)


def hashes(batch: Batch) -> list[str]:
    """A hash of each example."""
    parts = [batch.inputs, batch.targets, *([] if batch.padding is None else [batch.padding])]
    return [
        hashlib.blake2b(b"".join(part[i].contiguous().numpy().tobytes() for part in parts), digest_size=16).hexdigest()
        for i in range(len(batch.inputs))
    ]


def batch_size(task: Task, split: Split, wanted: int = SIZE) -> int:
    """`wanted`, or the number of examples of a split that has fewer."""
    length = task.length(split)
    return wanted if length is None else min(wanted, length)
