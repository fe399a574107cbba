"""What attention mechanisms share, against slow and obvious forms in float64."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import nn

from lot.contracts import Dims
from lot.errors import BadInput
from lot.nn import (
    Projections,
    Rotary,
    attend,
    attention_mask,
    attention_weights,
    dropout_now,
    require_heads,
)
from lot.nn.attention import SHORT
from lot.nn.short import short_attention
from lot.random import initialize, isolated

DIMS = Dims(width=12, heads=3, max_len=16, vocab_size=5, layers=8)


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def reference_attention(q, k, v, causal, padding=None, fq=None, fk=None):
    """One query at a time, over the keys that it may see."""
    B, H, Tq, d = q.shape
    Tk = k.shape[2]
    y = torch.empty(B, H, Tq, v.shape[-1], dtype=q.dtype)
    rows = []
    for b in range(B):
        for h in range(H):
            for i in range(Tq):
                own = Tk - Tq + i
                seen = [
                    j
                    for j in range(Tk)
                    if (not causal or j <= own) and (padding is None or not padding[b, j] or j == own)
                ]
                score = torch.stack([q[b, h, i] @ k[b, h, j] / math.sqrt(d) for j in seen])
                if fq is not None:
                    score = score + torch.stack([fq[b, h, i] @ fk[b, h, j] for j in seen])
                rows.append(score.softmax(0) @ v[b, h, seen])
    return torch.stack(rows).view_as(y)


def test_heads_must_divide_the_width():
    require_heads(DIMS)
    for heads in (0, -3, 5):
        with pytest.raises(BadInput, match=r"model\.heads: expected a divisor of the width 12"):
            require_heads(Dims(width=12, heads=heads, max_len=4, vocab_size=5))


def test_projections_split_channels_by_head_and_merge_them_back():
    projections = Projections(DIMS).double()
    x = random(2, 5, 12)
    q, k, v = projections.split(x)
    weight, bias = projections.qkv.weight.view(3, 3, 4, 12), projections.qkv.bias.view(3, 3, 4)
    for part, found in enumerate((q, k, v)):
        assert found.shape == (2, 3, 5, 4)
        for head in range(3):
            torch.testing.assert_close(found[:, head], x @ weight[part, head].T + bias[part, head])
    merged = projections.merge(v)
    torch.testing.assert_close(merged, projections.out(torch.cat([v[:, head] for head in range(3)], dim=-1)))


def test_projections_start_as_gpt2_scaled_by_depth():
    dims = Dims(width=96, heads=3, max_len=4, vocab_size=5, layers=8)
    projections = Projections(dims)
    initialize(projections, 0)
    assert float(projections.qkv.weight.detach().std()) == pytest.approx(0.02, rel=0.03)
    assert float(projections.out.weight.detach().std()) == pytest.approx(0.02 / 4, rel=0.04)
    assert not projections.qkv.bias.any()
    assert not projections.out.bias.any()


def test_rotary_turns_pairs_of_channels_as_complex_numbers():
    x = random(2, 3, 7, 6)
    turned = Rotary(6, 16).double()(x, start=4)
    position = torch.arange(4, 11, dtype=torch.float64)
    frequency = torch.tensor([10000.0 ** (-2 * i / 6) for i in range(3)], dtype=torch.float64)
    spun = torch.complex(x[..., :3], x[..., 3:]) * torch.polar(torch.ones(7, 3).double(), position[:, None] * frequency)
    torch.testing.assert_close(turned, torch.cat((spun.real, spun.imag), dim=-1), atol=1e-6, rtol=0)


@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 23))
def test_rotary_scores_depend_on_the_distance_only(i, j, shift):
    rotary = Rotary(8, 64).double()
    q, k = random(1, 8, seed=1), random(1, 8, seed=2)
    score = rotary(q, i) @ rotary(k, j).T
    torch.testing.assert_close(rotary(q, i + shift) @ rotary(k, j + shift).T, score, atol=1e-5, rtol=0)


def test_rotary_keeps_the_dtype_and_refuses_odd_widths():
    assert Rotary(4, 8)(torch.ones(1, 3, 4, dtype=torch.bfloat16)).dtype == torch.bfloat16
    assert not Rotary(4, 8).state_dict()
    with pytest.raises(BadInput, match="even head width"):
        Rotary(5, 8)


def test_rotary_projections_turn_queries_and_keys_and_leave_values():
    plain = Projections(DIMS).double()
    turning = Projections(Dims(width=12, heads=3, max_len=16, vocab_size=5, positions="rotary")).double()
    turning.load_state_dict(plain.state_dict())
    x = random(2, 5, 12)
    rotary = Rotary(4, 16).double()
    for plain_part, part, turned in zip(plain.split(x), turning.split(x, start=3), (True, True, False), strict=True):
        torch.testing.assert_close(part, rotary(plain_part, 3) if turned else plain_part)


@given(st.integers(1, 5), st.integers(0, 4), st.booleans(), st.booleans(), st.integers(0, 99))
def test_the_mask_is_what_its_words_say(q_len, before, causal, padded, seed):
    k_len = q_len + before
    padding = torch.rand(2, k_len, generator=torch.Generator().manual_seed(seed)) < 0.5 if padded else None
    mask = attention_mask(q_len, k_len, causal, padding, torch.device("cpu"))
    allowed = torch.ones(2, 1, q_len, k_len, dtype=torch.bool) if mask is None else mask.expand(2, 1, q_len, k_len)
    for b in range(2):
        for i in range(q_len):
            own = before + i
            for j in range(k_len):
                earlier = not causal or j <= own
                present = padding is None or not padding[b, j] or j == own
                assert bool(allowed[b, 0, i, j]) == (earlier and present)


CASES = [
    (causal, padded, features, q_len, at_most)
    for causal in (True, False)
    for padded in (True, False)
    for features in (0, 2, 5)
    for q_len in (1, 3, 6)
    for at_most in ((0, SHORT) if features and not padded and q_len == 6 else (SHORT,))
]


@pytest.mark.parametrize(("causal", "padded", "features", "q_len", "at_most"), CASES)
def test_attention_and_its_gradients_agree_with_the_slow_form(monkeypatch, causal, padded, features, q_len, at_most):
    """at_most: tokens up to which there is a form of its own, so that both it and the fused one are tried."""
    monkeypatch.setattr("lot.nn.attention.SHORT", at_most)
    B, H, T, d = 2, 2, 6, 4
    seed = 17 * q_len + features
    q, k, v = (random(B, H, n, d, seed=seed + i) for i, n in enumerate((q_len, T, T)))
    fq, fk = (
        (random(B, H, q_len, features, seed=seed + 5), random(B, H, T, features, seed=seed + 6))
        if features
        else (None, None)
    )
    padding = (
        torch.tensor([[True, True, False, False, True, False], [False, False, True, False, True, True]])
        if padded
        else None
    )
    leaves = [t.requires_grad_() for t in (q, k, v, fq, fk) if t is not None]
    found = attend(q, k, v, causal=causal, padding=padding, query_features=fq, key_features=fk)
    expected = reference_attention(q, k, v, causal, padding, fq, fk)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
    cotangent = random(*expected.shape, seed=3)
    for got, want in zip(
        torch.autograd.grad(found, leaves, cotangent), torch.autograd.grad(expected, leaves, cotangent), strict=True
    ):
        torch.testing.assert_close(got, want, atol=1e-12, rtol=0)
    weights = attention_weights(q, k, causal=causal, padding=padding, query_features=fq, key_features=fk)
    torch.testing.assert_close(weights @ v, expected, atol=1e-12, rtol=0)
    torch.testing.assert_close(weights.sum(-1), torch.ones(B, H, q_len).double())


@pytest.mark.parametrize("at_a_time", [1, 50, 110, 1 << 17])
def test_a_short_sequence_is_the_same_however_many_are_worked_on_at_a_time(monkeypatch, at_a_time):
    monkeypatch.setattr("lot.nn.short.AT_A_TIME", at_a_time)  # weights: one sequence, two, four and all six
    q, k = (random(3, 2, 5, 6, seed=i).requires_grad_() for i in range(2))
    v = random(3, 5, 2, 4, seed=2).transpose(1, 2).requires_grad_()
    found = short_attention(q, k, v, scale=0.3, causal=True)
    expected = reference_attention(0.3 * math.sqrt(6) * q, k, v, True)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
    cotangent = random(*expected.shape, seed=3)
    for got, want in zip(
        torch.autograd.grad(found, (q, k, v), cotangent),
        torch.autograd.grad(expected, (q, k, v), cotangent),
        strict=True,
    ):
        torch.testing.assert_close(got, want, atol=1e-12, rtol=0)


def test_nothing_of_later_tokens_is_in_a_short_sequence():
    q, k, v = (random(2, 2, 64, 8, seed=i, dtype=torch.float32).requires_grad_() for i in range(3))
    before = short_attention(q, k, v, scale=0.3, causal=True)
    for gradient in torch.autograd.grad(before[:, :, :40].square().sum(), (q, k, v)):
        assert not gradient[:, :, 40:].any()
    q, k, v = (torch.cat((part[:, :, :40], 50 * part[:, :, 40:]), dim=2) for part in (q, k, v))
    assert torch.equal(short_attention(q, k, v, scale=0.3, causal=True)[:, :, :40], before[:, :, :40])


def test_a_short_sequence_has_no_second_derivative_rather_than_a_wrong_one():
    q = random(1, 1, 4, 3).requires_grad_()
    y = short_attention(q, q, q, scale=1.0, causal=False)
    (first,) = torch.autograd.grad(y.square().sum(), q, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


def test_a_sequence_of_nothing_but_padding_stays_finite():
    q, k, v = (random(1, 2, 4, 8, seed=i).requires_grad_() for i in range(3))
    y = attend(q, k, v, causal=True, padding=torch.ones(1, 4, dtype=torch.bool))
    torch.testing.assert_close(y, v)  # each token sees itself
    y.sum().backward()
    assert all(torch.isfinite(t.grad).all() for t in (q, k, v))


@settings(max_examples=20)
@given(st.integers(0, 2**31), st.floats(1.0, 8.0))
def test_bfloat16_features_keep_a_large_bias_accurate(seed, strength):
    """Phases as features: scores of up to 8 whose rounding in bfloat16 alone would be off by several percent."""
    generator = torch.Generator().manual_seed(seed)
    theta = 6.3 * torch.rand(1, 2, 16, 1, generator=generator)
    circle = torch.cat((theta.cos(), theta.sin()), dim=-1)
    zeros = torch.zeros(1, 2, 16, 16, dtype=torch.bfloat16)
    v = torch.eye(16).expand(1, 2, 16, 16).bfloat16()
    y = attend(zeros, zeros, v, causal=False, query_features=strength * circle, key_features=circle)
    exact = (strength * circle.double() @ circle.double().transpose(-1, -2)).softmax(-1)
    assert y.dtype == torch.bfloat16
    assert float((y.double() - exact).abs().max()) < 2**-8  # the rounding of the weights themselves, at most 1


def test_dropout_zeroes_weights_and_keeps_their_mean():
    q = torch.zeros(1, 1, 400, 8)
    v = torch.ones(1, 1, 400, 8)
    with isolated(0):
        y = attend(q, q, v, causal=False, dropout=0.5)
    assert float(y.mean()) == pytest.approx(1.0, abs=0.02)
    assert float(y.std()) > 0.02
    torch.testing.assert_close(attend(q, q, v, causal=False), v)


def test_dropout_ends_with_training():
    dims = Dims(width=4, heads=1, max_len=4, vocab_size=5, dropout=0.3)
    module = nn.Linear(1, 1)
    assert dropout_now(module.train(), dims) == 0.3
    assert dropout_now(module.eval(), dims) == 0.0
