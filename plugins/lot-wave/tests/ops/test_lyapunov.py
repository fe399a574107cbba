"""Lyapunov exponents of maps whose exponents are known."""

from __future__ import annotations

import math

import torch

from lot_wave.ops.lyapunov import local_exponents


def test_the_logistic_map_at_4_has_exponent_ln_2(make):
    x = torch.rand(8, 1, generator=make.generator, dtype=torch.float64)
    rates, _ = local_exponents([lambda x: 4 * x * (1 - x)] * 3000, x, epsilon=1e-9, generator=make.generator)
    assert abs(float(rates.mean()) / math.log(2) - 1) < 0.02


def test_a_contraction_has_its_own_negative_exponent(make):
    x = make.normal(3, 5)
    rates, norms = local_exponents([lambda x: 0.4 * x + 1.0] * 20, x, epsilon=1e-6, generator=make.generator)
    torch.testing.assert_close(rates, torch.full((20, 3), math.log(0.4), dtype=torch.float64), atol=1e-6, rtol=0)
    assert norms.shape == (21, 3)


def test_a_linear_map_gives_its_largest_singular_direction_in_the_end(make):
    """Powers of a symmetric matrix: the perturbation turns into the leading eigenvector."""
    basis = torch.linalg.qr(make.normal(6, 6)).Q
    matrix = basis @ torch.diag(torch.tensor([1.5, 1.0, 0.9, 0.5, 0.3, 0.1]).double()) @ basis.mT
    x = make.normal(2, 6)
    rates, _ = local_exponents([lambda x: x @ matrix / 1.2] * 80, x, epsilon=1e-5, generator=make.generator)
    torch.testing.assert_close(rates[-1], torch.full((2,), math.log(1.5 / 1.2)).double(), atol=1e-5, rtol=0)


def test_a_perturbation_that_vanishes_gives_a_finite_rate(make):
    rates, _ = local_exponents(
        [torch.zeros_like, lambda x: x + 1], make.normal(2, 3), epsilon=1e-3, generator=make.generator
    )
    assert torch.isfinite(rates).all()
    assert float(rates[0].max()) < -20
