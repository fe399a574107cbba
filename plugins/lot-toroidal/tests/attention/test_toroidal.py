"""Toroidal attention as a module: exact invariance, a fixed period, masks, and bad input."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from lot import BadInput, Component, Context, Dims, registry
from lot_toroidal.attention.toroidal import ToroidalAttention
from lot_toroidal.diagnostics.shift_error import shift_error
from lot_toroidal.ops.reference import dense_attention

Get = Callable[[str], Component]
Draw = Callable[..., Tensor]


def dims(**changes: Any) -> Dims:
    return dataclasses.replace(Dims(width=64, heads=2, max_len=24, vocab_size=8), **changes)


def built(attention: Get, of: Dims | None = None, **options: Any) -> ToroidalAttention:
    """A module whose scores are of size one."""
    module = attention("toroidal").build(of or dims(), **options)
    with torch.no_grad():
        module.heads.qkv.weight.mul_(6.0)
        module.heads.out.weight.mul_(20.0)
    return module  # type: ignore[no-any-return]


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
@pytest.mark.parametrize("T", [32, 128, 1024])
def test_a_cyclic_shift_of_the_input_shifts_the_output(T: int, depth: int, attention: Get, draw: Draw) -> None:
    module = built(attention, dims(max_len=T), depth=depth, causal=False)
    x = draw(1, T, 64, dtype=torch.float32)
    ctx = Context()
    with torch.no_grad():
        y = module(x, ctx)[0]
        for shift in (1, T // 3):
            shifted = module(x.roll(shift, dims=1), ctx)[0]
            assert float((shifted - y.roll(shift, dims=1)).abs().max()) < 1e-5
        assert float((y - y.roll(1, dims=1)).abs().max()) > 1e-2


def test_geometric_frequencies_break_the_invariance_as_published(attention: Get, draw: Draw) -> None:
    x = draw(1, 32, 64, dtype=torch.float32)
    with torch.no_grad():
        broken = shift_error(built(attention, dims(max_len=32), frequencies="geometric"), x, 8)
        exact = shift_error(built(attention, dims(max_len=32)), x, 8)
    assert float(exact) < 1e-5 < 1e-3 < float(broken)


@pytest.mark.parametrize("options", [{}, {"window": 5}, {"causal": False}, {"fusion": "attention", "depth": 2}])
def test_module_equals_the_dense_form_with_all_masks(options: dict[str, Any], attention: Get, draw: Draw) -> None:
    module = built(attention, **options).double()
    x = draw(2, 19, 64)
    padding = draw(2, 19) < -0.5
    mask = draw(2, 19, 19) < 0.5
    q, k, v = module.heads.platters(x)
    for hidden in ({}, {"padding": padding}, {"mask": mask}, {"padding": padding, "mask": mask}):
        y, _ = module(x, Context(padding=hidden.get("padding")), hidden.get("mask"))
        expected = module.heads.unite(module.fusion(dense_attention(q, k, v, module.torus, **hidden)))
        torch.testing.assert_close(y, expected, atol=1e-12, rtol=0)


def test_with_one_platter_and_no_distance_it_is_rotary_attention(attention: Get, draw: Draw) -> None:
    of = dims(positions="rotary")
    module = built(attention, of, depth=1, lambda_distance=0.0, frequencies="geometric")
    vanilla = registry().get("attention", "vanilla").build(of)
    vanilla.load_state_dict(module.state_dict())
    x = draw(2, 24, 64, dtype=torch.float32)
    torch.testing.assert_close(module(x, Context())[0], vanilla(x, Context())[0], atol=1e-5, rtol=0)


def test_the_period_is_fixed(attention: Get, draw: Draw) -> None:
    short, longer = (built(attention, dims(max_len=n), period=40) for n in (20, 40))
    x = draw(1, 20, 64, dtype=torch.float32)
    assert torch.equal(short(x, Context())[0], longer(x, Context())[0])


def test_signals_are_the_weights_that_act(attention: Get, draw: Draw) -> None:
    module = built(attention, dims(width=16), depth=2, fusion="mean").double()
    module.want = frozenset({"attention", "platter_attention", "platter_mixing"})
    x = draw(2, 9, 16)
    _, signals = module(x, Context())
    torch.testing.assert_close(signals["attention"].sum(-1), torch.ones(2, 2, 9, dtype=torch.float64))
    torch.testing.assert_close(signals["platter_attention"].sum(-1), signals["attention"].mean(0))
    assert signals["platter_mixing"].tolist() == [[0.5, 0.5], [0.5, 0.5]]
    # Values that are the same on every platter are mixed by the platter-averaged weights alone.
    with torch.no_grad():
        module.heads.qkv.weight[-16:] = (
            module.heads.qkv.weight[-16:].view(2, 2, 4, 16)[:, :1].expand(2, 2, 4, 16).reshape(16, 16)
        )
    q, k, v = module.heads.platters(x)
    mixed = module.attend(q, k, v, Context(), None).mean(3)
    _, signals = module(x, Context())
    torch.testing.assert_close(mixed, signals["attention"] @ v[:, :, :, 0])


@pytest.mark.parametrize(
    ("options", "changes", "message"),
    [
        ({"depth": 3}, {}, "depth: expected a divisor of the head width 32, got 3"),
        ({"depth": 32}, {}, "depth: expected an even number of channels per platter"),
        ({"depth": 16, "orthogonal": True}, {}, "orthogonal: expected platters of at least 4 channels"),
        ({"window": 12}, {}, r"window: expected at most \(period - 1\) / 2 = 11 on a ring of 24, got 12"),
        ({"period": 20}, {}, "period: expected at least the longest sequence of the model, 24 tokens, got 20"),
        ({"rank": 5}, {}, "rank: expected at most the depth 4, got 5"),
        ({"backend": "flash"}, {}, "backend: expected auto, sdpa or flex for lambda = 0.1, got flash"),
        ({"backend": "flex"}, {"dropout": 0.1}, "backend: expected auto or sdpa with model.dropout > 0"),
        ({}, {"heads": 3}, "model.heads: expected a divisor of the width 64, got 3"),
    ],
)
def test_bad_input_gets_one_clear_line(
    options: dict[str, Any], changes: dict[str, Any], message: str, attention: Get
) -> None:
    with pytest.raises(BadInput, match=message) as caught:
        attention("toroidal").build(dims(**changes), **options)
    assert "\n" not in str(caught.value)


def test_a_sequence_longer_than_the_period_gets_one_clear_line(attention: Get, draw: Draw) -> None:
    module = built(attention)
    with pytest.raises(
        BadInput, match=r"attn.period: expected sequences of at most 24 tokens.*got 25 tokens"
    ) as caught:
        module(draw(1, 25, 64, dtype=torch.float32), Context())
    assert "\n" not in str(caught.value)
    with pytest.raises(BadInput, match="got 25 tokens"):
        module(draw(1, 5, 64, dtype=torch.float32), Context(start=20))


def test_a_non_causal_module_does_not_decode(attention: Get) -> None:
    module = built(attention, causal=False)
    assert not module.can_decode()
    with pytest.raises(BadInput, match="a non-causal attention cannot decode"):
        module.init_cache(1, "cpu", torch.float32)


def test_describe_names_the_form_and_its_reason(attention: Get) -> None:
    assert built(attention).describe().startswith("backend auto runs tiles (lambda = 0.1: ")
    plain = built(attention, depth=1, lambda_distance=0.0).describe()
    assert plain.startswith("backend auto runs plain (lambda = 0 and no window: ")
    assert "ring of 24, depth 1, integer frequencies" in plain


def published(q: Tensor, k: Tensor, v: Tensor, orthogonal: bool, causal: bool, strength: float) -> Tensor:
    """The source's formula, a score at a time: q, k, v (B, H, T, D, p)."""
    _, _, T, D, p = q.shape
    pairs = p // 2
    w = torch.tensor([10000.0 ** (-2 * m / p) for m in range(pairs)], dtype=torch.float64)
    if orthogonal:
        u = torch.tensor([10000.0 ** (-2 * m / (2 * p * D)) for m in range(pairs)], dtype=torch.float64)
        u = u - (u * w).sum() / (w * w).sum() * w
        u = u / u.norm() * w.norm()
    else:
        u = torch.tensor([10000.0 ** (-2 * m / (p * max(2 * D, 3))) for m in range(pairs)], dtype=torch.float64)

    def turned(x: Tensor, i: int, k: int) -> Tensor:
        angle = 2 * math.pi * i / T * w + 2 * math.pi * k / D * u
        a, b = x[:, :, i, k, :pairs], x[:, :, i, k, pairs:]
        return torch.cat((a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()), dim=-1)

    rows = []
    for i in range(T):
        for kk in range(D):
            seen = [(j, l) for j in range(T) for l in range(D) if j <= i or not causal]  # noqa: E741
            scores = [
                (turned(q, i, kk) * turned(k, j, l)).sum(-1) / math.sqrt(p)
                - strength * (min(abs(i - j), T - abs(i - j)) / T + abs(kk - l) / D)
                for j, l in seen  # noqa: E741
            ]
            weights = torch.stack(scores).softmax(0)
            rows.append(sum(weight[..., None] * v[:, :, j, l] for weight, (j, l) in zip(weights, seen, strict=True)))  # noqa: E741
    return torch.stack(rows, dim=2).unflatten(2, (T, D))


@pytest.mark.parametrize("orthogonal", [None, False])
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("T", [5, 8])
def test_the_published_form_equals_its_formula(
    T: int, causal: bool, orthogonal: bool | None, attention: Get, draw: Draw
) -> None:
    """Whatever the longest sequence of the model, 24 here: the ring is the sequence at hand."""
    options = {"form": "published", "depth": 4, "lambda_distance": 0.3, "orthogonal": orthogonal, "causal": causal}
    module = built(attention, dims(width=32), **options).double()
    x = draw(2, T, 32, grad=True)
    q, k, v = (part.unflatten(-1, (4, 4)) for part in module.heads.split(x))
    o = published(q, k, v, orthogonal is not False, causal, 0.3)
    expected = module.heads.unite(module.fusion(o))
    found, _ = module(x, Context())
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-11)
    inputs, g = [x, module.heads.qkv.weight, module.heads.out.weight], draw(2, T, 32)
    for a, b in zip(torch.autograd.grad(found, inputs, g), torch.autograd.grad(expected, inputs, g), strict=True):
        torch.testing.assert_close(a, b, atol=1e-11, rtol=1e-10)


def test_the_published_form_has_no_decoding_cache_and_no_fixed_ring(attention: Get) -> None:
    module = built(attention, form="published")
    assert not module.can_decode()
    with pytest.raises(BadInput, match="cannot decode token by token"):
        module.init_cache(1, "cpu", torch.float32)
    assert "ring of the sequence at hand, depth 4, published frequencies, orthogonal bases" in module.describe()
    for options, where in (({"period": 30}, "period"), ({"frequencies": "geometric"}, "frequencies")):
        with pytest.raises(BadInput, match=f"{where}: expected its default with form=published"):
            built(attention, form="published", **options)


def test_a_window_that_would_meet_itself_on_a_short_sequence_hides_nothing(attention: Get, draw: Draw) -> None:
    options = {"form": "published", "lambda_distance": 0.0, "causal": False}
    wide, none = built(attention, window=4, **options).double(), built(attention, **options).double()
    for T, equal in ((8, True), (9, True), (10, False)):
        x = draw(1, T, 64)
        assert torch.allclose(wide(x, Context())[0], none(x, Context())[0], atol=1e-12) is equal, T
