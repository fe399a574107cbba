"""Statistics of angles against complex arithmetic in double precision."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as hnp
from torch.autograd import gradcheck

from lot.circular import chance_order, circular_mean, circular_variance, order_parameter, wrap

angles = hnp.arrays(np.float64, hnp.array_shapes(max_dims=3, max_side=6), elements=st.floats(-50, 50))


def mean_vector(theta: torch.Tensor, dim: int) -> torch.Tensor:
    """The complex mean of exp(i theta), the slow and obvious way."""
    return torch.polar(torch.ones_like(theta), theta).mean(dim)


@given(angles, st.data())
def test_the_order_parameter_is_the_length_of_the_mean_vector(values, data):
    theta = torch.from_numpy(values)
    dim = data.draw(st.integers(-theta.dim(), theta.dim() - 1))
    expected = mean_vector(theta, dim).abs()
    torch.testing.assert_close(order_parameter(theta, dim), expected, atol=1e-7, rtol=0)
    torch.testing.assert_close(circular_variance(theta, dim), 1 - expected, atol=1e-7, rtol=0)


@given(angles, st.floats(-10, 10))
def test_turning_all_angles_turns_the_mean_and_leaves_the_order(values, turn):
    theta = torch.from_numpy(values)
    torch.testing.assert_close(order_parameter(theta + turn), order_parameter(theta), atol=1e-7, rtol=0)
    clear = order_parameter(theta) > 1e-3  # the direction of a vector of length 0 is anything
    difference = wrap(circular_mean(theta + turn) - circular_mean(theta) - turn)[clear]
    torch.testing.assert_close(difference, torch.zeros_like(difference), atol=1e-9, rtol=0)


def test_evenly_spread_phases_have_no_order_and_equal_ones_have_all():
    for n in (2, 3, 8, 100):
        spread = torch.arange(n, dtype=torch.float64) * 2 * math.pi / n + 0.3
        assert order_parameter(spread) < 1e-15
        assert order_parameter(torch.full((n,), 1.7, dtype=torch.float64)) == pytest.approx(1.0, abs=1e-15)


def test_gradients_of_the_order_parameter_agree_with_differences():
    theta = torch.randn(3, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda t: order_parameter(t, dim=0), theta)
    assert gradcheck(lambda t: circular_mean(t, dim=1), theta)


def test_the_gradient_is_zero_where_the_mean_vector_vanishes():
    """Two opposite phases whose float32 cosines and sines cancel to the last bit: R = 0, where a bare root gives NaN."""
    one = torch.linspace(0, 3, 20_000)
    pairs = torch.stack((one, one - math.pi), dim=-1)
    theta = pairs[order_parameter(pairs) == 0].requires_grad_()
    assert len(theta) > 10
    order_parameter(theta).sum().backward()
    assert torch.equal(theta.grad, torch.zeros_like(theta))


def test_gradients_stay_bounded_beside_the_singularity():
    distance = torch.tensor([1e-3, 1e-5, 1e-7], dtype=torch.float64)
    theta = torch.stack((torch.zeros(3, dtype=torch.float64), math.pi + distance), dim=-1).requires_grad_()
    order_parameter(theta).sum().backward()
    torch.testing.assert_close(theta.grad.abs(), torch.full((3, 2), 0.5, dtype=torch.float64), atol=1e-6, rtol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_narrow_angles_are_averaged_in_float32(dtype):
    theta = torch.randn(4, 300, generator=torch.Generator().manual_seed(1)).to(dtype)
    for function in (order_parameter, circular_mean, circular_variance):
        found = function(theta)
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.double(), function(theta.double()), atol=1e-5, rtol=0)


@pytest.mark.parametrize("n", [1, 2, 3, 8, 64])
def test_chance_is_what_random_phases_give(n):
    theta = 2 * math.pi * torch.rand(100_000, n, generator=torch.Generator().manual_seed(n), dtype=torch.float64)
    assert chance_order(n) == pytest.approx(float(order_parameter(theta).mean()), rel=0.03)


def test_the_mean_direction_does_not_jump_at_half_a_turn():
    theta = torch.tensor([math.pi - 0.1, -math.pi + 0.1], dtype=torch.float64)
    assert abs(float(circular_mean(theta))) == pytest.approx(math.pi, abs=1e-12)
    assert float(circular_mean(theta + 0.05)) == pytest.approx(-math.pi + 0.05, abs=1e-12)


@given(angles)
def test_wrapping_keeps_the_angle_and_lands_in_one_turn(values):
    theta = torch.from_numpy(values)
    wrapped = wrap(theta)
    assert (wrapped.abs() <= math.pi).all()
    torch.testing.assert_close(torch.polar(torch.ones_like(theta), wrapped), torch.polar(torch.ones_like(theta), theta))
    torch.testing.assert_close(wrap(wrapped), wrapped, atol=1e-12, rtol=0)


def test_wrapping_leaves_half_a_turn_positive_and_passes_gradients_on():
    theta = torch.tensor([math.pi, -math.pi, 7.0, -0.5], dtype=torch.float64, requires_grad=True)
    wrapped = wrap(theta)
    wrapped.sum().backward()
    torch.testing.assert_close(wrapped.detach(), torch.tensor([math.pi, math.pi, 7.0 - 2 * math.pi, -0.5]).double())
    assert torch.equal(theta.grad, torch.ones(4, dtype=torch.float64))
