"""The circle of angles, in its own form and in the one that compilers see."""

from __future__ import annotations

import pytest
import torch

from lot_lattice.ops.angles import circle


@pytest.mark.parametrize("dim", [-1, -2, 1])
def test_the_circle_and_its_first_and_second_derivative(make, dim) -> None:
    theta = make.normal(2, 3, 4).transpose(0, 1).requires_grad_()
    expected = torch.stack((theta.cos(), theta.sin()), dim=dim)
    assert torch.equal(circle(theta, dim), expected)
    weight = make.normal(*expected.shape)
    firsts = [
        torch.autograd.grad((both * weight).sum(), theta, create_graph=True)[0]
        for both in (circle(theta, dim), expected)
    ]
    torch.testing.assert_close(*firsts, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(
        *(torch.autograd.grad(first.sum(), theta)[0] for first in firsts), rtol=1e-12, atol=1e-14
    )
