"""What pairwise interference counts as, against the operations of its tiles, and of the plain formula."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lot.model.operations import OperationCounter
from lot_wave.ops import pairwise
from lot_wave.ops.reference import interference_weights
from lot_wave.ops.waves import Waves


def waves(N: int, W: int, T: int) -> Tensor:
    """(N, 3, W, T): amplitudes are positive."""
    drawn = torch.randn(N, 3, W, T, generator=torch.Generator().manual_seed(W))
    drawn[:, 0] = drawn[:, 0].abs()
    return drawn


@pytest.mark.parametrize("dropout", [0.0, 0.1])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("normalize", ["softmax", "row", "energy"])
@pytest.mark.parametrize("W", [8, 24])
def test_the_formula_is_what_the_tiles_do(W: int, normalize: str, causal: bool, dropout: float) -> None:
    """To 3 %: what is done once for each token of a tile is left out."""
    q, k, v = waves(4, W, 160), waves(4, W, 160) + 0.1, torch.randn(4, 160, 8)
    seed = torch.tensor(3) if dropout else None
    with OperationCounter() as inside:
        y, statistic = pairwise._forward._init_fn(q, k, v, None, seed, normalize, causal, dropout)
    with OperationCounter() as formula:
        pairwise._forward(q, k, v, None, seed, normalize, causal, dropout)
    assert formula.total == pytest.approx(inside.total, rel=0.03)
    assert formula.total <= inside.total
    saved = (torch.ones_like(y), y, statistic, q, k, v, None, seed, normalize, causal, dropout)
    with OperationCounter() as inside:
        pairwise._backward._init_fn(*saved)
    with OperationCounter() as formula:
        pairwise._backward(*saved)
    assert formula.total == pytest.approx(inside.total, rel=0.03)
    assert formula.total <= inside.total


def test_the_plain_formula_over_all_pairs_is_of_the_same_size() -> None:
    W, T, d = 16, 64, 8
    q = waves(2, W, T)
    v = torch.randn(2, T, d)
    amplitude, frequency, phase = q.unbind(1)
    token = Waves(*(part.mT[:, None] for part in (amplitude, frequency, phase)))  # (N, 1, T, W)
    with OperationCounter() as plain:
        everywhere = torch.ones(T, T, dtype=torch.bool)
        weights = interference_weights(token, token, everywhere, evolution="pairwise", normalize="row")
        weights[:, 0] @ v
    with OperationCounter() as tiled:
        pairwise._forward(q, q, v, None, None, "row", False, 0.0)
    assert 0.8 < tiled.total / plain.total < 1.25
