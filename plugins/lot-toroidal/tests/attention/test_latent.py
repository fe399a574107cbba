"""The streaming state: scans equal their loops, and streaming equals the training form."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lot import BadInput, Component, Context, Dims
from lot_toroidal.attention.latent import LatentAttention
from lot_toroidal.ops.scan import gru_scan, linear_scan

Get = Callable[[str], Component]
Draw = Callable[..., Tensor]
DIMS = Dims(width=16, heads=2, max_len=40, vocab_size=8)


def built(attention: Get, draw: Draw, **options: Any) -> LatentAttention:
    module = attention("toroidal_latent").build(DIMS, **options).double()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * draw(*parameter.shape))
    return module  # type: ignore[no-any-return]


@pytest.mark.parametrize("T", [1, 2, 7, 32])
def test_linear_scan_equals_its_loop(T: int, draw: Draw) -> None:
    a, b = torch.sigmoid(draw(2, T, 3)).requires_grad_(), draw(2, T, 3, grad=True)
    h, states = torch.zeros(2, 3, dtype=torch.float64), []
    for t in range(T):
        h = a[:, t] * h + b[:, t]
        states.append(h)
    expected = torch.stack(states, dim=1)
    scanned = linear_scan(a, b)
    torch.testing.assert_close(scanned, expected, atol=1e-13, rtol=0)
    g = draw(2, T, 3)
    for x, y in zip(torch.autograd.grad(scanned, (a, b), g), torch.autograd.grad(expected, (a, b), g), strict=True):
        torch.testing.assert_close(x, y, atol=1e-12, rtol=0)


def test_gru_scan_equals_the_cell_of_torch(draw: Draw) -> None:
    cell = nn.GRUCell(5, 4).double()
    x, h0 = draw(3, 6, 5, grad=True), draw(3, 4, grad=True)
    skip = draw(3, 6) < -0.5
    h, states = h0, []
    for t in range(6):
        h = torch.where(skip[:, t, None], h, cell(x[:, t], h))
        states.append(h)
    expected = torch.stack(states, dim=1)
    gates = x @ cell.weight_ih.T + cell.bias_ih
    scanned = gru_scan(gates, cell.weight_hh, cell.bias_hh, h0, skip)
    torch.testing.assert_close(scanned, expected, atol=1e-13, rtol=0)
    g = draw(3, 6, 4)
    wanted = [x, h0, *cell.parameters()]
    for a, b in zip(torch.autograd.grad(scanned, wanted, g), torch.autograd.grad(expected, wanted, g), strict=True):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=0)


def test_the_operators_keep_the_rules_of_torch(draw: Draw) -> None:
    torch.library.opcheck(linear_scan, (torch.sigmoid(draw(2, 5, 3)).requires_grad_(), draw(2, 5, 3, grad=True)))
    skip = torch.zeros(2, 5, dtype=torch.bool)
    arguments = draw(2, 5, 9, grad=True), draw(9, 3, grad=True), draw(9, grad=True), draw(2, 3, grad=True), skip
    torch.library.opcheck(gru_scan, arguments)


def test_a_linear_scan_can_be_differentiated_twice_and_a_gru_says_that_it_cannot(draw: Draw) -> None:
    a, b = torch.sigmoid(draw(1, 4, 2)).requires_grad_(), draw(1, 4, 2, grad=True)
    assert torch.autograd.gradgradcheck(linear_scan, (a, b))
    weight = draw(6, 2, grad=True)
    states = gru_scan(draw(1, 3, 6), weight, draw(6), draw(1, 2), torch.zeros(1, 3, dtype=torch.bool))
    (g,) = torch.autograd.grad(states.square().sum(), weight, create_graph=True)
    with pytest.raises(RuntimeError, match="cannot be differentiated twice"):
        g.sum().backward()


@pytest.mark.parametrize("update", ["linear", "min_gru", "gru"])
def test_streaming_equals_the_training_form_with_a_state_that_does_not_grow(
    update: str, attention: Get, draw: Draw
) -> None:
    module = built(attention, draw, update=update, latent=24)
    x = draw(2, 40, 16)
    y, _ = module(x, Context())
    cache = module.init_cache(2, "cpu", torch.float64)
    outputs, sizes = [], set()
    for t in range(40):
        o, cache = module.decode(x[:, t : t + 1], Context(start=t), cache)
        outputs.append(o)
        sizes.add(sum(value.numel() for value in vars(cache).values() if isinstance(value, Tensor)))
    torch.testing.assert_close(torch.cat(outputs, dim=1), y, atol=1e-12, rtol=0)
    assert sizes == {2 * 24}


@pytest.mark.parametrize("update", ["linear", "min_gru"])
def test_what_is_read_depends_on_the_lag_only(update: str, attention: Get, draw: Draw) -> None:
    module = built(attention, draw, update=update)
    x = draw(1, 12, 16)
    early, late = module(x, Context(start=0))[0], module(x, Context(start=25))[0]
    torch.testing.assert_close(early, late, atol=1e-5, rtol=0)
    with torch.no_grad():
        module.encoding.cos.fill_(1.0)  # a state that does not turn reads something else
        module.encoding.sin.zero_()
        assert float((module(x, Context())[0] - early).abs().max()) > 1e-3


@pytest.mark.parametrize("update", ["linear", "min_gru"])
def test_the_state_follows_its_equation(update: str, attention: Get, draw: Draw) -> None:
    module = built(attention, draw, update=update, latent=24)
    x = draw(2, 9, 16)
    padding = torch.zeros(2, 9, dtype=torch.bool)
    padding[1, 3:5] = True
    h, found = torch.zeros(2, 4, 6, dtype=torch.float64), []
    for t in range(9):
        logit = module.decay.expand(2, -1) if module.gate is None else module.gate(x[:, t])
        z = torch.sigmoid(logit).view(2, 4, 3).repeat(1, 1, 2)  # one gate for both channels of a pair
        z = z * ~padding[:, t, None, None]
        written = module.encoding(module.write(x[:, t]).view(2, 1, 4, 6), t)[:, 0]
        h = (1 - z) * h + z * written
        found.append(module.encoding(h[:, None], t, inverse=True))
    expected = module.out(module.fusion(torch.cat(found, dim=1)).flatten(2))
    torch.testing.assert_close(module(x, Context(padding=padding))[0], expected)


def test_what_leaves_the_state_starts_scaled_by_depth(attention: Get) -> None:
    module = attention("toroidal_latent").build(Dims(width=64, heads=2, max_len=8, vocab_size=8, layers=8))
    assert float(module.out.weight.detach().std()) == pytest.approx(0.02 / 4, rel=0.1)


def test_padding_leaves_the_state_of_a_gru_as_it_is(attention: Get, draw: Draw) -> None:
    module = built(attention, draw, update="gru")
    x, padding = draw(1, 9, 16), torch.zeros(1, 9, dtype=torch.bool)
    padding[0, 3:5] = True
    there = ~padding[0]
    expected = module(x[:, there], Context())[0]
    torch.testing.assert_close(module(x, Context(padding=padding))[0][:, there], expected)


@pytest.mark.parametrize("update", ["linear", "min_gru"])
def test_memories_last_from_a_token_to_a_turn_of_the_ring(update: str, attention: Get) -> None:
    module = attention("toroidal_latent").build(DIMS, update=update)
    spans = 1 / torch.sigmoid((module.decay if update == "linear" else module.gate.bias).detach())
    assert float(spans.min()) == pytest.approx(2, rel=1e-4)
    assert float(spans.max()) == pytest.approx(40, rel=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"latent": 18}, "depth: expected a divisor of the state's width 18, got 4"),
        ({"latent": 12}, "depth: expected an even number of channels per platter"),
        ({"update": "gru", "orthogonal": True}, "orthogonal: expected null with update=gru"),
    ],
)
def test_bad_input_gets_one_clear_line(options: dict[str, Any], message: str, attention: Get) -> None:
    with pytest.raises(BadInput, match=message) as caught:
        attention("toroidal_latent").build(DIMS, **options)
    assert "\n" not in str(caught.value)


def test_the_published_update_equals_its_formula(attention: Get, draw: Draw) -> None:
    """A GRU per head on [k, v], which are means over platters, k turned as at position 0; read through a gate of q."""
    B, H, T, D, d, m = 2, 2, 6, 2, 8, 5
    module = built(attention, draw, update="gru_per_head", depth=D, latent=m)
    p, pairs = d // D, d // D // 2
    x = draw(B, T, 16, grad=True)
    q, k, v = (part.unflatten(-1, (D, p)) for part in module.heads.split(x))  # (B, H, T, D, p)
    w = torch.tensor([10000.0 ** (-2 * j / p) for j in range(pairs)], dtype=torch.float64)
    u = torch.tensor([10000.0 ** (-2 * j / (2 * p * D)) for j in range(pairs)], dtype=torch.float64)
    u = u - (u * w).sum() / (w * w).sum() * w
    u = u / u.norm() * w.norm()
    turned = []
    for platter in range(D):
        angle = 2 * math.pi * platter / D * u
        a, b = k[..., platter, :pairs], k[..., platter, pairs:]
        turned.append(torch.cat((a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()), dim=-1))
    k_mean, v_mean, q_mean = sum(turned) / D, v.mean(3), q.mean(3)
    W_r, W_u, W_n = module.update.weight.chunk(3)
    b_r, b_u, b_n = module.update.bias.chunk(3)
    V_r, V_u, V_n = module.hidden.weight.chunk(3)
    c_r, c_u, c_n = module.hidden.bias.chunk(3)
    z, rows = torch.zeros(B, H, m, dtype=torch.float64), []
    for t in range(T):
        new = torch.cat((k_mean[:, :, t], v_mean[:, :, t]), dim=-1) @ module.write.weight.T + module.write.bias
        reset = torch.sigmoid(new @ W_r.T + b_r + z @ V_r.T + c_r)
        keep = torch.sigmoid(new @ W_u.T + b_u + z @ V_u.T + c_u)
        z = (1 - keep) * torch.tanh(new @ W_n.T + b_n + reset * (z @ V_n.T + c_n)) + keep * z
        gate = torch.sigmoid(((q_mean[:, :, t] @ module.gate.weight.T) * z).sum(-1, keepdim=True) / math.sqrt(m))
        rows.append((z * gate) @ module.read.weight.T)
    o = torch.stack(rows, dim=2)[:, :, :, None].expand(B, H, T, D, p)
    expected = module.heads.unite(module.fusion(o))
    found, _ = module(x, Context())
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-11)
    inputs, g = [x, *module.parameters()], draw(B, T, 16)
    for a, b in zip(torch.autograd.grad(found, inputs, g), torch.autograd.grad(expected, inputs, g), strict=True):
        torch.testing.assert_close(a, b, atol=1e-10, rtol=1e-9)


def test_the_published_state_is_as_wide_as_a_head_by_default(attention: Get, draw: Draw) -> None:
    cache = built(attention, draw, update="gru_per_head").init_cache(3, "cpu", torch.float32)
    assert cache.h.shape == (3, 16)
