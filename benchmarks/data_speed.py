"""Making batches of synthetic tasks against training on them: data must never be what a run waits for.

Every batch is new (`train_examples: null`): a finite training set is drawn once and then only looked up, which costs less.
The model is small, the worst case: 2 layers of width 64, with vanilla attention.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import torch.nn.functional as F

import lot
from lot.contracts import IGNORED, Context
from lot.training.compose import compose
from lot_cli.bench import Case

BATCH = 64
OPTIONS = {"mqar": {"vocab_size": 128}, "mqar_corrected": {"vocab_size": 128}}
"""Where the usual options make a model that is not small: mqar's 8192 tokens cost more than its layers."""


def cases() -> Iterator[Case]:
    """One for each installed task that can draw new examples without end."""
    for component in lot.registry().components("task"):
        if hasattr(component.configure(), "train_examples"):
            options = {**OPTIONS.get(component.name, {}), "train_examples": None}
            yield Case(
                name=f"batches of {component.name}",
                candidate=batches(component.build(0, **options)),
                baseline=training({"name": component.name, **options}),
                baseline_name="training step, 2 layers x 64",
                speedup=20.0,
            )


def batches(task: Any) -> Callable[[], object]:
    """Each call makes the next batch."""
    numbers = itertools.count()
    return lambda: task.batch("train", next(numbers), BATCH)


def training(task: dict[str, Any]) -> Callable[[], object]:
    """Each call trains on one and the same batch."""
    config = lot.load_config(
        {"task": task, "attn": {"name": "vanilla"}, "model": {"width": 64, "heads": 4, "layers": 2}}
    )
    composition = compose(config)
    model = composition.model.train()
    optimizer = config.optim.component.create(config.optim.options, model)
    batch = composition.task.batch("train", 0, BATCH)

    def step() -> None:
        logits = model(batch.inputs, Context()).logits
        loss = F.cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), ignore_index=IGNORED)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return step
