"""Circulant attention against dense attention, and the convolutions that it is made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from lot import BadInput, Component, Context, Dims
from lot_toroidal.attention.fft import FFTAttention
from lot_toroidal.ops.circulant import causal_convolve, convolve, correlate_ring
from lot_toroidal.ops.reference import dense_weights

Get = Callable[[str], Component]
Draw = Callable[..., Tensor]
DIMS = Dims(width=32, heads=2, max_len=150, vocab_size=8)


def built(attention: Get, draw: Draw, **options: Any) -> FFTAttention:
    module = attention("toroidal_fft").build(DIMS, **options).double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * draw(*parameter.shape))
    return module  # type: ignore[no-any-return]


@pytest.mark.parametrize("T", [1, 2, 63, 64, 65, 150])
@pytest.mark.parametrize(
    "options", [{}, {"depth": 1}, {"causal": False}, {"fusion": "attention", "lambda_distance": 2.0}]
)
def test_positional_lags_equal_dense_attention(options: dict[str, Any], T: int, attention: Get, draw: Draw) -> None:
    module = built(attention, draw, **options)
    x = draw(2, T, 32, grad=True)
    for padding in (None, draw(2, T) < -0.5):
        ctx = Context(padding=padding)
        y, dense = module(x, ctx)[0], module.dense(x, ctx)
        # The angles of the encoding are kept in float32: equal lags differ by its rounding.
        torch.testing.assert_close(y, dense, atol=2e-6, rtol=1e-6)
        g = draw(*y.shape)
        wanted = [x, *module.parameters()]
        for a, b in zip(torch.autograd.grad(y, wanted, g), torch.autograd.grad(dense, wanted, g), strict=True):
            torch.testing.assert_close(a, b, atol=2e-4, rtol=1e-5)


@pytest.mark.parametrize("causal", [True, False])
def test_the_attention_signal_is_that_of_dense_attention(causal: bool, attention: Get, draw: Draw) -> None:
    module = built(attention, draw, causal=causal)
    module.want = frozenset({"attention"})
    x, padding = draw(2, 9, 32), draw(2, 9) < -0.5
    q, k = (
        module.heads.encoding(part[:, None].expand(-1, 9, -1, -1)).expand(2, -1, -1, -1, -1)
        for part in (module.query, module.key)
    )
    expected = dense_weights(q, k, module.torus, padding=padding).mean(3).sum(-1)
    torch.testing.assert_close(module(x, Context(padding=padding))[1]["attention"], expected, atol=2e-6, rtol=1e-6)


def test_content_lags_are_exact_when_scores_are_circulant(attention: Get, draw: Draw) -> None:
    module = built(attention, draw, causal=False, lags="content")
    with torch.no_grad():
        module.heads.qkv.weight[:64] = 0.0  # every token has the same query and the same key: their biases
    x = draw(2, 150, 32)
    torch.testing.assert_close(module(x, Context())[0], module.dense(x, Context()), atol=1e-6, rtol=1e-6)


def test_content_lags_are_an_approximation_otherwise(attention: Get, draw: Draw) -> None:
    module = built(attention, draw, causal=False, lags="content")
    x = draw(2, 150, 32)
    with torch.no_grad():
        y, dense = module(x, Context())[0], module.dense(x, Context())
    assert float((y - dense).norm() / dense.norm()) > 0.05


@pytest.mark.parametrize("lags", ["position", "content"])
def test_a_cyclic_shift_is_exact(lags: str, attention: Get, draw: Draw) -> None:
    module = built(attention, draw, causal=False, lags=lags).float()
    x = draw(1, 150, 32, dtype=torch.float32)
    with torch.no_grad():
        y, shifted = module(x, Context())[0], module(x.roll(7, dims=1), Context())[0]
    assert float((shifted - y.roll(7, dims=1)).abs().max()) < 1e-5 * float(y.abs().max())


def test_learned_scores_start_at_size_one(attention: Get) -> None:
    module = attention("toroidal_fft").build(Dims(width=1024, heads=8, max_len=64, vocab_size=8), lambda_distance=0.0)
    scores = module._positional(64).detach()
    assert float(scores.std()) == pytest.approx(1.0, rel=0.2)
    assert not torch.equal(module.query, module.key)


@pytest.mark.parametrize("T", [1, 5, 64, 70, 200])
def test_causal_convolution_equals_its_sum(T: int, draw: Draw) -> None:
    w, v = draw(2, 3, 3, T, grad=True), draw(2, 2, T, 3, 4, grad=True)
    lag = torch.arange(T)[:, None] - torch.arange(T)
    full = torch.where(lag >= 0, w[..., lag.clamp(min=0)], 0.0)  # (H, D, D, T, T)
    expected = torch.einsum("hklij,bhjlp->bhikp", full, v)
    o = causal_convolve(w, v)
    torch.testing.assert_close(o, expected, atol=1e-11, rtol=0)
    g = draw(*o.shape)
    for a, b in zip(torch.autograd.grad(o, (w, v), g), torch.autograd.grad(expected, (w, v), g), strict=True):
        torch.testing.assert_close(a, b, atol=1e-10, rtol=0)


def test_the_operator_keeps_the_rules_of_torch(draw: Draw) -> None:
    arguments = draw(1, 2, 2, 70, grad=True), draw(1, 1, 70, 2, 3, grad=True)
    torch.library.opcheck(causal_convolve, arguments)


def test_differentiating_weights_twice_is_refused(draw: Draw) -> None:
    w, v = draw(1, 1, 1, 5, grad=True), draw(1, 1, 5, 1, 2, grad=True)
    (g,) = torch.autograd.grad(causal_convolve(w, v).square().sum(), w, create_graph=True)
    with pytest.raises(RuntimeError, match="cannot be differentiated twice"):
        g.sum().backward()


@pytest.mark.parametrize("T", [1, 9, 17])
def test_ring_convolution_and_correlation_equal_their_sums(T: int, draw: Draw) -> None:
    N = 17
    w, v = draw(2, 2, 2, 2, N), draw(2, 2, T, 2, 3)
    lag = (torch.arange(T)[:, None] - torch.arange(T)) % N
    torch.testing.assert_close(convolve(w, v), torch.einsum("bhklij,bhjlp->bhikp", w[..., lag], v), atol=1e-12, rtol=0)
    q, k = draw(2, 2, T, 2, 3), draw(2, 2, T, 2, 3)
    padding = draw(2, T) < -0.7
    score = torch.einsum("bhikp,bhjlp->bhklij", q, k)
    for hidden in (None, padding):
        there = torch.ones(2, T, dtype=torch.bool) if hidden is None else ~hidden
        both = there[:, :, None] & there[:, None, :]
        expected = torch.zeros(2, 2, 2, 2, N, dtype=torch.float64)
        for b in range(2):
            for n in range(N):
                at_lag = both[b] & (lag == n)
                if at_lag.any():
                    expected[b, ..., n] = score[b][..., at_lag].mean(-1)
        torch.testing.assert_close(correlate_ring(q, k, N, hidden), expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    ("options", "changes", "message"),
    [
        ({"lags": "content"}, {}, "lags: expected position on a causal task"),
        ({"frequencies": "geometric"}, {}, "frequencies: expected integer"),
        ({}, {"dropout": 0.1}, "model.dropout: expected 0 with toroidal_fft"),
    ],
)
def test_bad_input_gets_one_clear_line(
    options: dict[str, Any], changes: dict[str, Any], message: str, attention: Get
) -> None:
    of = Dims(**{"width": 32, "heads": 2, "max_len": 150, "vocab_size": 8, **changes})
    with pytest.raises(BadInput, match=message) as caught:
        attention("toroidal_fft").build(of, **options)
    assert "\n" not in str(caught.value)
