"""The checks of a task: its batches are pure, its splits are apart, and its score counts what is scored only."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lot.contracts import IGNORED, Batch, Task
from lot.errors import BadInput
from lot.random import numpy_generator
from lot.testing.case import Case, CheckFunction
from lot.testing.failure import NotApplicable, require
from lot.testing.generators import other_generators, untouched_generators
from lot.testing.kinds.task_assets import assets
from lot.testing.kinds.task_batches import SIZE, SPLITS, batch_size, make_task, same
from lot.testing.kinds.task_metrics import metrics
from lot.testing.kinds.task_overlap import near
from lot.testing.kinds.task_splits import evaluation_order, splits, training_length


def builds(case: Case) -> None:
    """The factory gives a task that states the sizes of its vocabulary, its sequences and its splits."""
    task = make_task(case)
    for name in ("vocab_size", "seq_len"):
        value = getattr(task, name, None)
        require(isinstance(value, int) and value >= 1, name, expected="an int >= 1", got=repr(value))
    require(isinstance(task.causal, bool), "causal", expected="a bool", got=repr(task.causal))
    for split in SPLITS:
        length = task.length(split)
        endless = length is None and split == "train"
        require(
            endless or (isinstance(length, int) and length >= 1),
            f"length of {split}",
            expected="an int >= 1 (or, for training only, None: endless)",
            got=repr(length),
        )


def shapes(case: Case) -> None:
    """Batches are int64 (B, T) on the requested device, their ids within the vocabulary, with targets to score."""
    task = make_task(case)
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    for split in SPLITS:
        B, T = batch_size(task, split), task.seq_len
        for device in devices:
            batch = task.batch(split, 0, B, device)
            require(
                isinstance(batch, Batch),
                f"batch of {split}",
                expected="a lot.Batch",
                got=type(batch).__name__,
            )
            for name, value, dtype in (
                ("inputs", batch.inputs, torch.int64),
                ("targets", batch.targets, torch.int64),
                ("padding", batch.padding, torch.bool),
            ):
                if name == "padding" and value is None:
                    continue
                what = f"{name} of {split}"
                require(
                    isinstance(value, Tensor) and tuple(value.shape) == (B, T),
                    f"shape of {what}",
                    expected=str((B, T)),
                    got=str(getattr(value, "shape", value)),
                )
                assert value is not None
                require(value.dtype == dtype, f"dtype of {what}", expected=str(dtype), got=str(value.dtype))
                require(value.device.type == device, f"device of {what}", expected=device, got=str(value.device))
            _require_segments(task, batch, f"segments of {split}")
            _require_range(batch.inputs, task.vocab_size, f"inputs of {split}")
            scored = batch.targets[batch.targets != IGNORED]
            require(scored.numel() > 0, f"targets of {split}", expected=f"some that are not {IGNORED}", got="none")
            _require_range(scored, task.vocab_size, f"targets of {split} (beside {IGNORED})")
            if batch.padding is not None:
                require(
                    bool((batch.targets[batch.padding] == IGNORED).all()),
                    f"targets of {split} at padding",
                    expected=str(IGNORED),
                    got="other values",
                )


def _require_segments(task: Task, batch: Batch, what: str) -> None:
    """`segments` come where the task says so, int64 (B, T) on the CPU."""
    found = batch.segments
    require(
        isinstance(found, Tensor) == task.segments,
        what,
        expected="a tensor, as task.segments says" if task.segments else "None, as task.segments says",
        got=type(found).__name__,
    )
    if found is not None:
        expected = f"int64 {tuple(batch.inputs.shape)} on the CPU"
        require(
            (found.dtype, found.shape, found.device.type) == (torch.int64, batch.inputs.shape, "cpu"),
            what,
            expected=expected,
            got=f"{str(found.dtype).removeprefix('torch.')} {tuple(found.shape)} on {found.device}",
        )


def _require_range(ids: Tensor, V: int, what: str) -> None:
    low, high = int(ids.min()), int(ids.max())
    require(low >= 0 and high < V, what, expected=f"0 to {V - 1} (vocab_size {V})", got=f"{low} to {high}")


def pure(case: Case) -> None:
    """A batch depends on seed, split, index and size only: on no order of calls, no object, no global generator."""
    task, fresh = make_task(case), make_task(case)
    for split in SPLITS:
        B = batch_size(task, split)
        length = task.length(split)
        indices = (
            (0, 1, 10**9) if split == "train" else tuple(i for i in (0, 1) if length is not None and i * B < length)
        )
        with untouched_generators(f"batches of {split}"):
            first = {i: task.batch(split, i, B) for i in indices}
        with other_generators(123):
            again = {i: fresh.batch(split, i, B) for i in reversed(indices)}
        for i in indices:
            require(
                same(first[i], again[i]) and same(first[i], task.batch(split, i, B)),
                f"batch {i} of {split}, asked for again, and from a fresh task",
                expected="the same batch",
                got="another one",
                cause="an iterator or generator kept between calls; key one by (seed, split, index)",
            )
        if split == "train":
            require(
                not same(first[0], first[10**9]),
                "batches 0 and 10^9 of train",
                expected="different batches",
                got="the same",
                cause="an index that is not part of the key",
            )


def seeds(case: Case) -> None:
    """Another seed gives other training batches, and so does another index."""
    task, other = make_task(case), make_task(case, seed=1)
    n = task.length("train")
    if n is not None and n < SIZE:
        raise NotApplicable(f"{n} training examples are too few to compare seeds")
    first = task.batch("train", 0, SIZE)
    require(
        not same(first, other.batch("train", 0, SIZE)),
        "batch 0 of train for seeds 0 and 1",
        expected="different batches",
        got="the same",
        cause="a seed that is not used, so that all seeds of a study train on the same batches",
    )
    require(
        not same(first, task.batch("train", 1, SIZE)),
        "batches 0 and 1 of train",
        expected="different batches",
        got="the same",
        cause="an index that is not part of the key",
    )


def text(case: Case) -> None:
    """decode and example give readable text; encode, where the task has a text form, gives ids of the vocabulary."""
    task = make_task(case)
    ids = task.batch("train", 0, 1).inputs[0]
    text_form = task.decode(ids)
    require(isinstance(text_form, str) and len(text_form) > 0, "decode", expected="a text", got=repr(text_form))
    with untouched_generators("example"):
        examples = [task.example(numpy_generator(0, "kit", "example")) for _ in range(2)]
    require(isinstance(examples[0], str) and len(examples[0]) > 0, "example", expected="a text", got=repr(examples[0]))
    require(
        examples[0] == examples[1],
        "example of equal generators",
        expected="the same text",
        got="another one",
        cause="randomness that does not come from the given generator",
    )
    try:
        encoded = task.encode(text_form)
    except BadInput:
        return  # the task has no text form, or cannot read what decode writes
    require(
        all(isinstance(i, int) and 0 <= i < task.vocab_size for i in encoded),
        "encode",
        expected=f"a list of ints below {task.vocab_size}",
        got=repr(encoded)[:60],
    )


def leak(case: Case) -> None:
    """In a causal task, the input does not hold the answer at the very position where the answer is scored."""
    task = make_task(case)
    if not task.causal:
        raise NotApplicable("it is not causal, and says so")
    for split in SPLITS:
        batch = task.batch(split, 0, batch_size(task, split, 64))
        scored = batch.targets != IGNORED
        copied = float((batch.inputs[scored] == batch.targets[scored]).double().mean())
        require(
            copied < 1.0,
            f"share of scored targets of {split} that equal the input at their position",
            expected="below 1",
            got=copied,
            cause="targets that are not shifted: the target of position t is what comes after token t",
        )


def counts(case: Case) -> None:
    """token_counts, where the task has them, cover every token that training shows."""
    task = make_task(case)
    known: Any = task.token_counts
    if known is None:
        raise NotApplicable("it does not count its tokens")
    V = task.vocab_size
    fits = (
        isinstance(known, Tensor)
        and tuple(known.shape) == (V,)
        and known.dtype == torch.int64
        and bool((known >= 0).all())
    )
    require(
        fits,
        "token_counts",
        expected=f"({V},) int64, with no count below 0",
        got=f"{getattr(known, 'shape', type(known))} {getattr(known, 'dtype', '')}",
    )
    shown = torch.cat([task.batch("train", i, batch_size(task, "train")).inputs.flatten() for i in range(4)])
    never = sorted(set(shown[known[shown] == 0].tolist()))
    require(
        not never,
        "token_counts of tokens that training shows",
        expected="above 0",
        got=f"0 for {never[:5]}",
        cause="counts of another split, or of targets only",
    )


TASK_CHECKS: dict[str, CheckFunction] = {
    "builds": builds,
    "shapes": shapes,
    "pure": pure,
    "evaluation order": evaluation_order,
    "splits": splits,
    "near splits": near,
    "training length": training_length,
    "seeds": seeds,
    "metrics": metrics,
    "text": text,
    "leak": leak,
    "token counts": counts,
    "assets": assets,
}
