"""The standard objective."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from lot.builtin.config import CrossEntropyConfig
from lot.builtin.cross_entropy import CrossEntropy
from lot.contracts import Batch, Context, Output


def value(logits: torch.Tensor, targets: torch.Tensor, **options: float) -> torch.Tensor:
    output, batch = Output(logits, {}), Batch(torch.zeros_like(targets), targets)
    terms = CrossEntropy(CrossEntropyConfig(**options)).terms(output, batch, Context())
    assert list(terms) == ["cross_entropy"]
    return terms["cross_entropy"]


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_it_is_the_mean_over_scored_targets(smoothing: float) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 4, 5, generator=generator)
    targets = torch.randint(5, (3, 4), generator=generator)
    targets[0, 1:] = targets[2, 0] = -100
    each = []
    for row, target in zip(logits.flatten(0, 1), targets.flatten(), strict=True):
        if target >= 0:
            log_p = row.log_softmax(0)
            each.append(-(1 - smoothing) * log_p[target] - smoothing * log_p.mean())
    torch.testing.assert_close(value(logits, targets, label_smoothing=smoothing), torch.stack(each).mean())


def test_a_batch_in_which_nothing_is_scored_costs_nothing() -> None:
    logits = torch.randn(1, 2, 5, generator=torch.Generator().manual_seed(0)).requires_grad_()
    loss = value(logits, torch.full((1, 2), -100))
    loss.backward()
    assert loss.item() == 0.0
    assert not logits.grad.any()  # type: ignore[union-attr]


def test_sixteen_bit_logits_are_scored_in_single_precision() -> None:
    logits = torch.randn(1, 200, 9, generator=torch.Generator().manual_seed(0)).bfloat16()
    targets = torch.zeros(1, 200, dtype=torch.int64)
    exact = F.cross_entropy(logits.double().flatten(0, 1), targets.flatten()).item()
    assert value(logits, targets).item() == pytest.approx(exact, rel=1e-5)
    assert value(torch.zeros(1, 3, 7), torch.zeros(1, 3, dtype=torch.int64)).item() == pytest.approx(math.log(7))
