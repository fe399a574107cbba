"""Rotary encoding on the torus: whole turns, orthogonal bases, and clear refusals."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from lot import BadInput
from lot_toroidal.attention.encoding import (
    TorusEncoding,
    orthogonality,
    platter_frequencies,
    resolve_period,
    ring_turns,
    sequence_frequencies,
    split_width,
)
from lot_toroidal.config import ToroidalConfig


def encoding(width: int, depth: int, period: int, **options: object) -> TorusEncoding:
    return TorusEncoding(ToroidalConfig(**options), width, depth, period, "the head width")  # type: ignore[arg-type]


@pytest.mark.parametrize("period", [1, 2, 7, 32, 100, 4096])
@pytest.mark.parametrize("pairs", [1, 2, 5, 32])
def test_integer_frequencies_are_whole_turns_of_the_ring(pairs: int, period: int) -> None:
    turns = ring_turns(pairs, period)
    assert torch.equal(turns, turns.round())
    assert float(turns.min()) >= 1
    assert bool((turns[:-1] >= turns[1:]).all())
    assert float(turns.max()) == max(1, round(period / (2 * math.pi)))


@pytest.mark.parametrize("kind", ["integer", "geometric"])
@pytest.mark.parametrize("period", [2, 16, 128, 1000])
@pytest.mark.parametrize("depth", [2, 3, 4, 8, 16])
def test_orthogonal_bases_score_below_the_threshold_at_every_admissible_width(
    kind: str, period: int, depth: int
) -> None:
    for width in (4, 6, 8, 16, 32, 64, 128):
        omega = sequence_frequencies(width // 2, period, kind)
        phi = platter_frequencies(omega, depth, orthogonal=True)
        assert orthogonality(omega, phi) < 1e-4
        assert float(phi.abs().max()) == pytest.approx(math.pi / depth)
        plain = platter_frequencies(omega, depth, orthogonal=False)
        assert 0.05 < orthogonality(omega, plain) < 1 - 1e-3


def test_orthogonality_leaves_the_sequence_alone() -> None:
    plain, orthogonal = (encoding(8, 4, 64, orthogonal=flag) for flag in (False, True))
    assert torch.equal(plain.omega, orthogonal.omega)
    assert not torch.equal(plain.phi, orthogonal.phi)
    assert orthogonal.score < 1e-4 < plain.score
    assert encoding(8, 1, 64, orthogonal=False).score == 0.0  # a single platter leaves nothing to confuse


def test_one_pair_of_channels_cannot_be_orthogonal() -> None:
    with pytest.raises(BadInput, match="orthogonal: expected platters of at least 4 channels") as caught:
        encoding(2, 4, 64, orthogonal=True)
    assert "\n" not in str(caught.value)
    assert not encoding(2, 4, 64).orthogonal


def test_odd_rotary_width_is_refused() -> None:
    with pytest.raises(BadInput, match="depth: expected an even number of channels per platter") as caught:
        encoding(3, 4, 64)
    assert "\n" not in str(caught.value)


def test_depth_must_divide_the_width_and_the_period_hold_the_sequence() -> None:
    with pytest.raises(BadInput, match="depth: expected a divisor of the head width 16, got 3"):
        split_width(16, 3, "the head width")
    with pytest.raises(
        BadInput, match="period: expected at least the longest sequence of the model, 64 tokens, got 63"
    ):
        resolve_period(63, 64)
    assert resolve_period(65, 64) == 65
    assert resolve_period(None, 64) == 64


@pytest.mark.parametrize("options", [{}, {"frequencies": "geometric"}, {"orthogonal": False}])
def test_encoding_turns_pairs_by_position_and_platter(options: dict[str, object], draw: Callable[..., Tensor]) -> None:
    module = encoding(6, 3, 20, **options).double()
    x = draw(2, 5, 3, 6)
    start = 11
    angle = (
        torch.arange(start, start + 5)[:, None, None] * module.omega + torch.arange(3)[:, None] * module.phi
    )  # (5, 3, 3)
    turned = torch.complex(*x.chunk(2, dim=-1)) * torch.exp(1j * angle)
    expected = torch.cat((turned.real, turned.imag), dim=-1)
    torch.testing.assert_close(module(x, start), expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(module(module(x, start), start, inverse=True), x, atol=1e-6, rtol=0)


def test_the_last_place_of_the_ring_is_next_to_the_first(draw: Callable[..., Tensor]) -> None:
    module = encoding(8, 2, 24)
    q, k = draw(2, 8, dtype=torch.float32), draw(2, 8, dtype=torch.float32)
    everywhere = module(q.expand(24, 2, 8)), module(k.expand(24, 2, 8))
    score = torch.einsum("ikp,jkp->ij", *everywhere)
    neighbor = score.diagonal(1)
    torch.testing.assert_close(score[-1, 0].expand(23), neighbor, atol=1e-5, rtol=0)


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize(("width", "depth"), [(8, 1), (4, 3), (2, 2)])
def test_gradients_turn_back(width: int, depth: int, inverse: bool, draw: Callable[..., Tensor]) -> None:
    module = encoding(width, depth, 16, orthogonal=width > 2).double()
    x = draw(2, 3, depth, width).double().requires_grad_()  # (H, T, D, p)
    turned = module(x, 5, inverse=inverse)
    cotangent = draw(*x.shape).double()
    (got,) = torch.autograd.grad((turned * cotangent).sum(), x)
    torch.testing.assert_close(got, module(cotangent, 5, inverse=not inverse))
    assert torch.autograd.gradcheck(lambda x: module(x, 5, inverse=inverse), x)
    assert torch.autograd.gradgradcheck(lambda x: module(x, 5, inverse=inverse), x)
