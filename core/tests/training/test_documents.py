"""A task whose documents share rows trains as one whose rows are its documents, and what cannot do that is refused."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
import torch
from toy import COMPONENT, Toy, toy_config

from lot.config.schema import Config
from lot.contracts import IGNORED, Batch, Split
from lot.errors import BadInput
from lot.model.measure import measure_split
from lot.training.compose import check_documents, check_signals_of_documents, compose


class Packed(Toy):
    """The toy, each row of which is documents of two tokens and of four."""

    segments = True

    def batch(self, split: Split, index: int, size: int, device: torch.device | str = "cpu") -> Batch:
        batch = super().batch(split, index, size, device)
        segments = (torch.arange(self.seq_len) >= 2).long().expand_as(batch.inputs)
        return batch._replace(segments=segments)


class Unpacked(Toy):
    """The same documents, each in a row of its own, padded."""

    def batch(self, split: Split, index: int, size: int, device: torch.device | str = "cpu") -> Batch:
        batch = super().batch(split, index, size, device)
        rows = [Batch(*(part[:, piece] for part in batch[:2])) for piece in (slice(0, 2), slice(2, self.seq_len))]
        wide = torch.zeros(2, len(batch.inputs), 2, self.seq_len, dtype=torch.int64)
        wide[1] = IGNORED
        padding = torch.ones(len(batch.inputs), 2, self.seq_len, dtype=torch.bool)
        for number, row in enumerate(rows):
            width = row.inputs.shape[1]
            wide[0, :, number, :width], wide[1, :, number, :width] = row.inputs, row.targets
            padding[:, number, :width] = False
        return Batch(wide[0].flatten(0, 1), wide[1].flatten(0, 1), padding.flatten(0, 1))


def config_of(task: type[Toy], **changes: Any) -> Config:
    config = toy_config(**changes)
    component = attrs.evolve(COMPONENT, factory=f"{task.__module__}:{task.__name__}")
    return attrs.evolve(config, task=attrs.evolve(config.task, component=component))


def gradients(task: type[Toy]) -> tuple[dict[str, torch.Tensor], float]:
    """The gradients of the objective on a batch, and the loss on the validation split."""
    from lot.nn import context

    composition = compose(config_of(task))
    model = composition.model.double()
    batch = composition.task.batch("train", 0, 8)
    ctx = context(batch, torch.tensor(0))
    total, _ = composition.objective(model(batch.inputs, ctx), batch, ctx, 0)
    total.backward()
    measured = measure_split(
        model,
        composition.task,
        "validation",
        batch_size=4 if task is Packed else 8,
        device=torch.device("cpu"),
        precision="fp32",
        step=0,
        limit=4 if task is Packed else 8,
    )
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}, measured["loss"]


def test_a_step_and_an_evaluation_are_those_of_documents_in_rows_of_their_own() -> None:
    packed, unpacked = gradients(Packed), gradients(Unpacked)
    assert packed[1] == pytest.approx(unpacked[1], rel=1e-6)
    assert packed[0].keys() == unpacked[0].keys()
    for name, gradient in packed[0].items():
        torch.testing.assert_close(gradient, unpacked[0][name], rtol=1e-9, atol=1e-12)


def test_a_model_that_cannot_tell_documents_apart_is_refused() -> None:
    config = config_of(Packed)
    composition = compose(config)
    composition.model.segments = False
    with pytest.raises(BadInput, match=r"task: task toy tells apart .*, and model decoder cannot"):
        check_documents(config, composition.task, composition.model)


def test_sequences_that_are_spread_over_processes_are_refused() -> None:
    with pytest.raises(BadInput, match="documents that share a row: cannot be told apart where sequences are spread"):
        compose(config_of(Packed, train={"context_parallel": 2}))


def test_a_signal_of_unknown_shape_is_refused() -> None:
    config = config_of(Packed)
    own = attrs.evolve(config.attn.component, emits=frozenset({"attention", "own"}))
    config = attrs.evolve(config, attn=attrs.evolve(config.attn, component=own))
    task = compose(config).task
    with pytest.raises(BadInput, match="diagnostic x needs the signal 'own', whose shape LOT does not know"):
        check_signals_of_documents(config, task, "diagnostic x", frozenset({"attention", "own"}))
    check_signals_of_documents(config, task, "diagnostic x", frozenset({"attention", "hidden"}))
    check_signals_of_documents(config, Toy(COMPONENT.configure(), 0), "diagnostic x", frozenset({"own"}))
