"""The objective: every loss under its weight and its schedule."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from toy import toy_config

from lot.config.schedule import WeightSchedule
from lot.contracts import Batch, Context, Output
from lot.training.objective import Objective, adaptive_factor

PHASE = torch.tensor([0.0, 1.0]).view(1, 2, 1).expand(2, 2, 3)  # R = cos(1/2) at every token


def total(step: int = 0, **options: Any) -> tuple[float, float]:
    """The objective of one loss, and the loss before its weight."""
    config = toy_config(losses={"cross_entropy": options})
    objective = Objective(config.losses, frozenset())
    generator = torch.Generator().manual_seed(0)
    batch = Batch(torch.zeros(2, 3, dtype=torch.int64), torch.randint(7, (2, 3), generator=generator))
    output = Output(torch.randn(2, 3, 7, generator=generator), {"phase": {0: PHASE}})
    value, terms = objective(output, batch, Context(), step)
    return float(value), float(terms["cross_entropy"])


def test_a_weight_multiplies_its_loss_and_not_what_is_reported() -> None:
    value, term = total(weight=3.0)
    assert term == total()[1]
    assert value == pytest.approx(3 * term)


def test_a_schedule_moves_the_weight_by_step() -> None:
    schedule = {"kind": "linear", "to": 1.0, "over": 10}
    for step, weight in ((0, 3.0), (5, 2.0), (10, 1.0)):
        value, term = total(step, weight=3.0, schedule=schedule)
        assert value == pytest.approx(weight * term)


def test_an_adaptive_weight_follows_the_order_parameter_of_the_batch() -> None:
    value, term = total(weight=3.0, schedule={"kind": "adaptive", "target": 0.5, "gain": 2.0})
    R = float(torch.tensor(0.5).cos())
    assert value == pytest.approx(3 * (1 + 2 * (R - 0.5)) * term, rel=1e-5)


def test_adaptive_follows_the_order_parameter_without_a_gradient() -> None:
    schedule = WeightSchedule(kind="adaptive", target=0.5, gain=4.0, limit=2.0)
    order = torch.tensor([0.0, 0.5, 0.6, 1.0], requires_grad=True)
    factor = adaptive_factor(schedule, order)
    assert factor.tolist() == pytest.approx([0.0, 1.0, 1.4, 2.0])
    assert not factor.requires_grad
    assert schedule.needs == {"phase"}
