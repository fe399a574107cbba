"""The test kit of LOT, and the mechanism against its slow reference."""

from __future__ import annotations

import lot
import pytest
import torch
from lot.testing import check_attention

from lot_running_mean.running_mean import RunningMean
from lot_running_mean.running_mean_reference import mean_one_by_one


def build(decay: float) -> RunningMean:
    """The attention as it is registered, in float64."""
    dims = lot.Dims(width=16, heads=4, max_len=32, vocab_size=11)
    component = lot.registry().get("attention", "running_mean")
    attention: RunningMean = component.build(dims, decay=decay)
    return attention.double()


def test_the_kit() -> None:
    check_attention(lot.registry().get("attention", "running_mean"))


@pytest.mark.parametrize("decay", [0.0, 0.5, 0.99])
def test_values_and_gradients_equal_the_reference(decay: float) -> None:
    attention = build(decay)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 7, 16, generator=generator, dtype=torch.float64, requires_grad=True)
    probe = torch.randn(2, 7, 16, generator=generator, dtype=torch.float64)

    y, _ = attention(x, lot.Context())
    expected = attention.out(mean_one_by_one(attention.value(x), decay))

    torch.testing.assert_close(y, expected, rtol=1e-10, atol=1e-12)
    (ours,) = torch.autograd.grad((y * probe).sum(), x)
    (theirs,) = torch.autograd.grad((expected * probe).sum(), x)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def test_with_no_decay_left_a_token_sees_itself_only() -> None:
    attention = build(0.0)
    x = torch.randn(1, 5, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y, _ = attention(x, lot.Context())
    torch.testing.assert_close(y, attention.out(attention.value(x)))


def test_a_decay_of_one_is_refused() -> None:
    with pytest.raises(lot.BadInput, match="decay: expected a number >= 0 and < 1"):
        build(1.0)
