"""What the operators count as, against the operations that they are made of."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from lot.model.operations import OperationCounter
from lot_toroidal.ops.circulant import causal_convolve, causal_correlate
from lot_toroidal.ops.scan import gru_scan, gru_scan_backward, linear_scan


def draw(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape)))


def require_same(operator: Any, *inputs: Tensor) -> None:
    """The formula of an operator gives what a count inside of it gives, up to the rounding of an FFT's logarithm."""
    with OperationCounter() as formula:
        operator(*inputs)
    with OperationCounter() as inside:
        operator._init_fn(*inputs)  # what the operator runs, where the counter can look into it
    assert not formula.uncounted
    assert len(formula.by_operator) <= 1, "the operator alone"
    assert formula.total == pytest.approx(inside.total, rel=1e-3)


@pytest.mark.parametrize("T", [1, 2, 17, 64])
def test_scans(T: int) -> None:
    require_same(linear_scan, draw(2, T, 6), draw(2, T, 6))
    n, skip = 4, torch.zeros(3, T, dtype=torch.bool)
    hidden = (draw(3, T, 3 * n), draw(3 * n, n), draw(3 * n), draw(3, n), skip)
    require_same(gru_scan, *hidden)
    require_same(gru_scan_backward, draw(3, T, n), draw(3, T, n), *hidden)


@pytest.mark.parametrize("T", [40, 64, 65, 300])
def test_convolution_and_correlation(T: int) -> None:
    """One block alone, one that is full, and several levels."""
    w, v = draw(2, 3, 3, T).double(), draw(3, 2, T, 3, 4).double()
    require_same(causal_convolve, w, v)
    require_same(causal_correlate, v, v)


def test_a_whole_pass_is_counted_forward_and_backward() -> None:
    a, b = draw(2, 16, 6).sigmoid().requires_grad_(), draw(2, 16, 6).requires_grad_()
    y = linear_scan(a, b)
    with OperationCounter() as counter:
        y.backward(torch.ones_like(y))
    scan = 3 * 2 * 6 * (4 * 16 - 15)  # four rounds, in which 1, 2, 4 and 8 steps have nothing before them
    assert counter.by_operator["lot_toroidal.linear_scan"] == scan
    assert counter.total == scan + y.numel(), "the gradient of a is one product more"
