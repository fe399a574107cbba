"""Mixing platters."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from lot.random import initialize
from lot_toroidal.attention.emitted import mixing_signal
from lot_toroidal.attention.fusion import AttentionFusion, LearnedFusion, LowRankFusion, MeanFusion, fusion
from lot_toroidal.diagnostics.fusion_rank import effective_rank

Draw = Callable[..., Tensor]


def test_low_rank_is_u_v_over_root_rank(draw: Draw) -> None:
    module = LowRankFusion(4, 2).double()
    initialize(module, 0)
    u, v = module.u.detach(), module.v.detach()
    o = draw(2, 3, 5, 4, 6)
    expected = torch.zeros_like(o)
    for k in range(4):
        for l in range(4):  # noqa: E741
            weight = sum(float(u[k, r]) * float(v[l, r]) for r in range(2)) / math.sqrt(2)
            expected[..., k, :] += weight * o[..., l, :]
    torch.testing.assert_close(module(o), expected)


def test_attention_over_platters_mixes_a_token_with_itself_only(draw: Draw) -> None:
    module = AttentionFusion(3, 4).double()
    initialize(module, 0)
    o = draw(2, 5, 3, 4)
    token = o[1, 2]
    weights = torch.softmax((token @ module.query.weight.T) @ (token @ module.key.weight.T).T / 2.0, dim=-1)
    torch.testing.assert_close(module(o)[1, 2], weights @ token)


def test_mean_gives_every_platter_the_mean(draw: Draw) -> None:
    o = draw(2, 4, 6)
    module = MeanFusion(4)
    torch.testing.assert_close(module(o), o.mean(1, keepdim=True).expand(2, 4, 6))
    torch.testing.assert_close(module(o), module.matrix(o) @ o)


@pytest.mark.parametrize("kind", ["low_rank", "attention", "mean"])
def test_one_platter_passes_through(kind: str, draw: Draw) -> None:
    module = fusion(kind, 1, None, 4)
    o = draw(3, 1, 4)
    assert not list(module.parameters())
    assert torch.equal(module(o), o)


def test_rank_is_a_quarter_of_the_depth_unless_given() -> None:
    ranks = [
        module.u.shape[1]
        for depth in (2, 4, 8, 16)
        if isinstance(module := fusion("low_rank", depth, None, 4), LowRankFusion)
    ]
    assert ranks == [1, 1, 2, 4]


def test_low_rank_keeps_the_size_of_a_platter(draw: Draw) -> None:
    sizes = []
    for seed in range(200):
        module = LowRankFusion(8, 2)
        initialize(module, seed)
        sizes.append(float(module.matrix(torch.zeros(1)).detach().square().sum()) / 8)
    assert sum(sizes) / len(sizes) == pytest.approx(1.0, abs=0.2)


def test_attention_over_platters_starts_with_scores_of_size_one(draw: Draw) -> None:
    module = AttentionFusion(8, 64).double()
    initialize(module, 0)
    o = draw(50, 8, 64)
    score = module.query(o) @ module.key(o).transpose(-1, -2) / 8
    assert float(score.detach().std()) == pytest.approx(1.0, rel=0.2)


def test_the_mixing_that_is_shown_is_the_mean_over_tokens(draw: Draw) -> None:
    matrix = draw(2, 3, 5, 4, 4)
    shown = mixing_signal(matrix, frozenset({"platter_mixing"}))["platter_mixing"]
    torch.testing.assert_close(shown, matrix.mean((0, 1, 2)))


def test_effective_rank_counts_what_is_independent(draw: Draw) -> None:
    assert float(effective_rank(torch.eye(5))) == pytest.approx(5)
    assert float(effective_rank(torch.ones(4, 4))) == pytest.approx(1)
    assert float(effective_rank(torch.zeros(3, 3))) == 0
    weights = torch.tensor([0.5, 0.25, 0.25])
    assert float(effective_rank(torch.diag(weights))) == pytest.approx(
        math.exp(-float((weights * weights.log()).sum()))
    )
    rank = float(effective_rank(draw(6, 2) @ draw(2, 6)))
    assert 1 < rank <= 2 + 1e-9


def test_the_published_fusion_equals_its_formula(draw: Draw) -> None:
    """out[j] = sum_i x[i] M[i, j], M = softmax(A B^T / sqrt D) over rows."""
    D = 3
    module = LearnedFusion(D).double()
    initialize(module, 0)
    o = draw(2, 5, D, 4, grad=True)
    score = module.a @ module.b.T / math.sqrt(D)
    M = score.exp() / score.exp().sum(1, keepdim=True)
    expected = torch.stack([sum(o[..., i, :] * M[i, j] for i in range(D)) for j in range(D)], dim=-2)
    found = module(o)
    torch.testing.assert_close(found, expected, atol=1e-14, rtol=1e-13)
    inputs, g = [o, module.a, module.b], draw(2, 5, D, 4)
    for x, y in zip(torch.autograd.grad(found, inputs, g), torch.autograd.grad(expected, inputs, g), strict=True):
        torch.testing.assert_close(x, y, atol=1e-13, rtol=1e-12)


def test_the_matrices_of_the_published_fusion_start_at_size_one() -> None:
    module = LearnedFusion(64)
    initialize(module, 0)
    for parameter in (module.a, module.b):
        assert float(parameter.detach().std()) == pytest.approx(1.0, abs=0.05)
