"""The splits of a task hold what they say and do not overlap: otherwise the test score measures training data."""

from __future__ import annotations

from lot.contracts import Batch
from lot.testing.case import Case
from lot.testing.failure import KitFailure, NotApplicable, require
from lot.testing.kinds.task_batches import SIZE, SPLITS, hashes, make_task, same
from lot.testing.kinds.task_overlap import batches, require_few

REPEATED = 0.01
"""The share of an evaluation split that may be there twice: a real text repeats itself now and then."""
SMALL = 4096
"""A training split of up to this many examples is read to its end."""


def evaluation_order(case: Case) -> None:
    """Batch i of validation and test holds examples i x size and following; beyond the last comes IndexError."""
    task = make_task(case)
    for split in SPLITS[1:]:
        n = task.length(split)
        assert n is not None
        if n >= 4:
            half = min(SIZE, n) // 2
            whole = task.batch(split, 0, 2 * half)
            for i in range(2):
                part = task.batch(split, i, half)
                expected = Batch(*(None if v is None else v[i * half : (i + 1) * half] for v in whole))  # type: ignore[arg-type]
                require(
                    same(part, expected),
                    f"batch {i} of {split} with size {half}",
                    expected=f"examples {i * half} to {(i + 1) * half - 1}",
                    got="others",
                    cause="examples keyed by batch instead of by number, so that the score depends on the batch size",
                )
        size = min(64, n)
        last = (n - 1) // size
        try:
            rows = len(task.batch(split, last, size).inputs)
        except IndexError:
            rows = 0
        require(
            rows == n - last * size,
            f"rows of the last batch of {split} (length {n}, size {size})",
            expected=str(n - last * size),
            got=rows,
            cause="a length that is not the number of examples, or a last batch that is padded or dropped",
        )
        try:
            task.batch(split, last + 1, size)
        except IndexError:
            continue
        raise KitFailure(
            f"batch {last + 1} of {split} with size {size}, beyond its {n} examples",
            expected="IndexError",
            got="a batch",
        )


def splits(case: Case) -> None:
    """No example of one split is in another, and validation and test repeat one in a hundred at most.

    All examples are read, or a large sample. Where the task declares that its data repeat themselves, the share is told, and
    a large one fails.
    """
    task = make_task(case)
    seen: dict[str, str] = {}
    for split in SPLITS:
        rows = [row for batch in batches(case, task, split) for row in hashes(batch)]
        if split != "train":
            repeated = len(rows) - len(set(rows))
            if repeated and task.repeats:
                require_few(case, task, f"examples of {split} that it repeats", repeated, len(rows), "")
            require(
                repeated <= REPEATED * len(rows) or bool(task.repeats),
                f"examples of {split}",
                expected=f"{len(rows)} distinct ones",
                got=f"{repeated} repetitions",
                cause="draws with replacement: `length` is the number of distinct examples",
            )
        shared = [row for row in set(rows) if row in seen]
        if shared and task.repeats:
            where = " and ".join(sorted({seen[row] for row in shared}))
            require_few(case, task, f"examples of {split} that are examples of {where} too", len(shared), len(rows), "")
        require(
            not shared or bool(task.repeats),
            f"an example of {split}",
            expected="one of its own",
            got=f"one that is an example of {seen[shared[0]]} too" if shared else "",
            cause="splits that differ by their seed only, or a corpus that is not cut: the model trains on the test",
        )
        seen.update(dict.fromkeys(set(rows) - seen.keys(), split))


def training_length(case: Case) -> None:
    """A finite training split gives each of its examples once, then begins again in another order."""
    task = make_task(case)
    n = task.length("train")
    if n is None:
        raise NotApplicable("its training split has no end")
    if n > SMALL:
        raise NotApplicable(f"it has {n} training examples, more than the kit reads")
    size = next(size for size in range(min(64, n), 0, -1) if n % size == 0)
    epochs = [
        [row for i in range(n // size) for row in hashes(task.batch("train", e * n // size + i, size))]
        for e in range(2)
    ]
    for number, epoch in enumerate(epochs):
        require(
            len(set(epoch)) == n,
            f"training examples {number * n} to {number * n + n - 1}",
            expected=f"all {n} distinct examples, once each",
            got=f"{len(set(epoch))} distinct",
            cause="a length that is not the number of distinct examples, or draws with replacement",
        )
    require(
        set(epochs[0]) == set(epochs[1]),
        "training examples of the second round",
        expected="the same examples as in the first round",
        got="others",
    )
    require(
        n < 3 or epochs[0] != epochs[1],
        "order of the second round",
        expected="another order than in the first round",
        got="the same order",
        cause="an order that is not keyed by the round",
    )
