"""What a run keeps of a task suffices to use the task where the files that it reads are not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from lot.contracts import Task
from lot.errors import BadInput
from lot.options.declare import text_options
from lot.testing.case import Case
from lot.testing.failure import KitFailure, require
from lot.testing.kinds.task_batches import SPLITS, batch_size, make_task, same

LONG = 32
"""Characters of an example that no asset may hold in a row."""
_CAUSE = "a task that reads files, without `assets` and `from_assets`"


def assets(case: Case) -> None:
    """Built from what a run keeps of it, without its files, it is the same task in all but its data, and keeps no data."""
    task = make_task(case)
    kept = task.assets()
    _require_files(kept, task)
    require(
        bool(kept) or task.origin is None,
        "assets of a task that states an origin",
        expected="what is needed to use it without those files",
        got="none",
        cause=_CAUSE,
    )
    again = _rebuilt(case, kept)
    for name in ("vocab_size", "seq_len", "causal", "primary"):
        _require_equal(f"{name} of the task made from its assets", getattr(again, name), getattr(task, name))
    counts, others = task.token_counts, again.token_counts
    require(
        (counts is None) == (others is None) and (counts is None or others is None or torch.equal(counts, others)),
        "token_counts of the task made from its assets",
        expected="those of the task",
        got="others",
    )
    ids = task.batch("validation", 0, 1).inputs[0]
    text = task.decode(ids)
    _require_equal("decode of the task made from its assets", again.decode(ids), text)
    _require_equal("encode of the task made from its assets", _encoded(again, text), _encoded(task, text))
    _require_equal("metrics of the task made from its assets", sorted(again.metrics()), sorted(task.metrics()))
    for split in SPLITS:
        B = batch_size(task, split)
        try:
            other = again.batch(split, 0, B)
        except BadInput:
            continue  # the data are not there, and it says so
        require(
            same(other, task.batch(split, 0, B)),
            f"batch 0 of {split} of the task made from its assets",
            expected="the batch of the task, or BadInput",
            got="another one",
        )


def _require_files(kept: Any, task: Task) -> None:
    fits = isinstance(kept, Mapping) and all(
        isinstance(name, str) and Path(name).name == name and isinstance(content, bytes)
        for name, content in kept.items()
    )
    require(fits, "assets", expected="bytes by plain file name", got=repr(kept)[:60])
    text = task.decode(task.batch("train", 0, 1).inputs[0])
    piece = text[:LONG].encode("utf-8", "surrogatepass")
    holding = [name for name, content in kept.items() if len(text) >= LONG and piece in content]
    require(
        not holding,
        f"asset {', '.join(holding)}",
        expected="no data",
        got="the beginning of the first training example",
        cause="a copy of the text; a run keeps what the model needs, never what it learned from",
    )


def _rebuilt(case: Case, kept: Mapping[str, bytes]) -> Task:
    """The task from its assets, under options that name files which are not there."""
    config = case.component.config_class
    gone = {
        name: str(Path(value).with_name("no-such-folder") / "no-such-file")
        for name in text_options(config)
        if isinstance(value := case.options.get(name), str) and Path(value).is_file()
    }
    factory = case.component.load()
    make = getattr(factory, "from_assets", None)
    options = case.component.configure(**{**case.options, **gone})
    try:
        task = make(options, 0, kept) if make is not None else factory(options, 0)
    except Exception as error:
        told = f"{type(error).__name__}: {error}"
        raise KitFailure("from_assets without the files", expected="a task", got=told, cause=_CAUSE) from error
    if not isinstance(task, Task):
        raise KitFailure("from_assets", expected="a lot.Task", got=type(task).__name__)
    return task


def _encoded(task: Task, text: str) -> list[int] | str:
    try:
        return task.encode(text)
    except BadInput:
        return "BadInput"


def _require_equal(what: str, got: Any, expected: Any) -> None:
    """Raises KitFailure where two values differ."""
    require(got == expected, what, expected=repr(expected)[:80], got=repr(got)[:80])
