"""Attention over one chunk, and the circle of evolved phases, against the formulas as they stand."""

from __future__ import annotations

import math

import pytest
import torch

from lot_wave.ops import short
from lot_wave.ops.positive_kernels import EPSILON
from lot_wave.ops.short import short_attention
from lot_wave.ops.waves import Waves, unit_circle


def plain(query, key, v):
    """One query after the other."""
    rows = []
    for t in range(v.shape[-2]):
        weights = (query[..., t : t + 1, :] * key[..., : t + 1, :]).sum(-1)  # (B, H, t + 1)
        rows.append((weights[..., None] * v[..., : t + 1, :]).sum(-2) / (weights.sum(-1, keepdim=True) + EPSILON))
    return torch.stack(rows, dim=-2)


@pytest.mark.parametrize("at_a_time", [1, 36, 100, 1 << 17])
@pytest.mark.parametrize("shared", [False, True])
def test_values_and_gradients_are_those_of_the_formula(make, close, monkeypatch, at_a_time, shared):
    """However many sequences are worked on at a time: one, one, two, or all six."""
    monkeypatch.setattr(short, "WEIGHTS", at_a_time)
    inputs = [make.normal(3, 2, 7, 5).exp().requires_grad_() for _ in range(1 if shared else 2)]
    inputs.append(make.normal(3, 7, 2, 4).transpose(1, 2).requires_grad_())  # laid out as a projection leaves it
    query, key, v = inputs[0], inputs[-2], inputs[-1]
    found, expected = short_attention(query, key, v), plain(query, key, v)
    close(found, expected, 1e-12)
    upstream = make.normal(3, 2, 7, 4)
    for ours, theirs in zip(
        torch.autograd.grad(found, inputs, upstream), torch.autograd.grad(expected, inputs, upstream), strict=True
    ):
        close(ours, theirs, 1e-10)


def test_later_tokens_change_no_bit_and_get_no_gradient(make):
    query, key, v = (make.normal(2, 2, 9, 4).float().exp().requires_grad_() for _ in range(3))
    before = short_attention(query, key, v)
    for gradient in torch.autograd.grad(before[:, :, :5].square().sum(), (query, key, v)):
        assert not gradient[:, :, 5:].any()
    changed = [torch.cat((part[:, :, :5], 100 * part[:, :, 5:]), dim=2) for part in (query, key, v)]
    assert torch.equal(short_attention(*changed)[:, :, :5], before[:, :, :5])


def test_a_second_derivative_is_refused_and_not_wrong(make):
    query = make.normal(1, 1, 4, 3).exp().requires_grad_()
    (first,) = torch.autograd.grad(short_attention(query, query, query).square().sum(), query, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


@pytest.mark.parametrize("parts", [("cos",), ("sin",), ("cos", "sin")])
def test_the_circle_and_its_gradients(make, close, parts):
    waves = Waves(*(make.normal(2, 3, 11, 4).requires_grad_() for _ in range(3)))
    time = torch.arange(5, 16, dtype=torch.float64)[:, None]
    angle = waves.phase + waves.frequency * time
    found = dict(zip(("cos", "sin"), unit_circle(waves, 5), strict=True))
    expected = {"cos": angle.cos(), "sin": angle.sin()}
    loss, plainly = (sum((each[name] ** 3).sum() for name in parts) for each in (found, expected))
    close(loss, plainly, 1e-12)
    inputs = (waves.frequency, waves.phase)
    for ours, theirs in zip(torch.autograd.grad(loss, inputs), torch.autograd.grad(plainly, inputs), strict=True):
        close(ours, theirs, 1e-11)


def test_the_circle_is_as_exact_far_out_as_at_the_start(make):
    """In float32, whose product with a position of 100,000 is off by hundredths of a radian."""
    phase, frequency = make.normal(1, 1, 3, 64).float(), make.normal(1, 1, 3, 64).float()
    cosine, sine = unit_circle(Waves(torch.ones_like(phase), frequency, phase), 100_000)
    angle = phase.double() + frequency.double() * torch.arange(100_000, 100_003, dtype=torch.float64)[:, None]
    error = (torch.atan2(sine.double(), cosine.double()) - angle).remainder(2 * math.pi)
    assert float(torch.minimum(error, 2 * math.pi - error).max()) < 1e-6
