"""What the checks of a task share: building it, and comparing its batches."""

from __future__ import annotations

import hashlib

import torch

from lot.contracts import Batch, Split, Task
from lot.testing.case import Case
from lot.testing.failure import KitFailure

SPLITS: tuple[Split, ...] = ("train", "validation", "test")
SIZE = 8


def make_task(case: Case, seed: int = 0) -> Task:
    task = case.build(seed)
    if not isinstance(task, Task):
        raise KitFailure("factory", expected="a lot.Task", got=type(task).__name__)
    return task


def same(a: Batch, b: Batch) -> bool:
    if (a.padding is None) != (b.padding is None):
        return False
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True) if x is not None and y is not None)


def hashes(batch: Batch) -> list[str]:
    """A hash of each example."""
    parts = [batch.inputs, batch.targets, *([] if batch.padding is None else [batch.padding])]
    return [
        hashlib.blake2b(b"".join(part[i].contiguous().numpy().tobytes() for part in parts), digest_size=16).hexdigest()
        for i in range(len(batch.inputs))
    ]


def batch_size(task: Task, split: Split, wanted: int = SIZE) -> int:
    """`wanted`, or all of a split that is smaller."""
    length = task.length(split)
    return wanted if length is None else min(wanted, length)
