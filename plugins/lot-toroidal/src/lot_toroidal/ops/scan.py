"""Recurrences along the sequence, as operators with a backward of their own: opaque to compilers, linear in memory.

In an exported program both are loops over positions.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx
from torch.utils.flop_counter import register_flop_formula

from lot.nn import export_form, scan

Tensors = tuple[Tensor, ...]


@torch.library.custom_op("lot_toroidal::linear_scan", mutates_args=())
def linear_scan(a: Tensor, b: Tensor) -> Tensor:
    """h[t] = a[t] h[t - 1] + b[t] with h[-1] = 0, all (B, T, n), in about log2 T parallel rounds.

    (a, b) compose associatively (Blelloch, "Prefix sums and their applications", 1990); round s joins spans of s steps
    (Hillis and Steele, 1986). h[t] is made of inputs up to t only, always in the same order.
    """
    span, T = 1, a.shape[1]
    a, h = a, b.clone()
    while span < T:
        h = torch.cat((h[:, :span], h[:, span:] + a[:, span:] * h[:, :-span]), dim=1)
        a = torch.cat((a[:, :span], a[:, span:] * a[:, :-span]), dim=1)
        span *= 2
    return h


@linear_scan.register_fake
def _(a: Tensor, b: Tensor) -> Tensor:
    return torch.empty_like(b)


def _save_linear(ctx: FunctionCtx, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(inputs[0], output)


def _linear_backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, Tensor]:
    """The adjoint runs backwards: g[t] = grad[t] + a[t + 1] g[t + 1]; b gets g[t], a gets g[t] h[t - 1]."""
    a, h = ctx.saved_tensors  # type: ignore[attr-defined]
    following = torch.cat((a[:, 1:], torch.zeros_like(a[:, :1])), dim=1)
    g = linear_scan(following.flip(1), grad.flip(1)).flip(1)
    before = torch.cat((torch.zeros_like(h[:, :1]), h[:, :-1]), dim=1)
    return g * before, g


linear_scan.register_autograd(_linear_backward, setup_context=_save_linear)


@export_form(torch.ops.lot_toroidal.linear_scan.default)
def linear_scan_form(a: Tensor, b: Tensor) -> Tensor:
    """`linear_scan`, one position after another."""

    def step(states: Tensors, inputs: Tensors, _: Tensors) -> tuple[Tensors, Tensors]:
        h = inputs[0] * states[0] + inputs[1]
        return (h,), (h,)

    _, (h,) = scan(step, (torch.zeros_like(b[:, 0]),), (a.transpose(0, 1), b.transpose(0, 1)))
    return h.transpose(0, 1).contiguous()


@torch.library.custom_op("lot_toroidal::gru_scan", mutates_args=())
def gru_scan(gates: Tensor, weight: Tensor, bias: Tensor, h: Tensor, skip: Tensor) -> Tensor:
    """States (B, T, n) of a GRU (Cho et al., 2014; torch's form), one step after another.

    gates (B, T, 3n): W x + b of reset, update and candidate. weight (3n, n), bias (3n): the hidden side of the same.
    h (B, n): the state before. skip (B, T) bool: steps that leave the state as it is.
    """
    states = []
    for t in range(gates.shape[1]):
        h = next_gru_state(gates[:, t], skip[:, t], h, weight, bias)
        states.append(h)
    return torch.stack(states, dim=1)


def next_gru_state(gates: Tensor, skip: Tensor, h: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The state (B, n) after one step from h (B, n): gates (B, 3n) and skip (B,) of this step, the rest as in `gru_scan`."""
    _, update, candidate, _ = _gru_gates(gates, h @ weight.T + bias)
    return torch.where(skip[:, None], h, candidate + update * (h - candidate))


def _gru_gates(x: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Reset and update gate, candidate, and the hidden side of the candidate; each (..., n)."""
    x_reset, x_update, x_candidate = x.chunk(3, dim=-1)
    h_reset, h_update, h_candidate = hidden.chunk(3, dim=-1)
    reset, update = torch.sigmoid(x_reset + h_reset), torch.sigmoid(x_update + h_update)
    return reset, update, torch.tanh(x_candidate + reset * h_candidate), h_candidate


@gru_scan.register_fake
def _(gates: Tensor, weight: Tensor, bias: Tensor, h: Tensor, skip: Tensor) -> Tensor:
    return gates.new_empty(gates.shape[0], gates.shape[1], h.shape[1])


@torch.library.custom_op("lot_toroidal::gru_scan_backward", mutates_args=())
def gru_scan_backward(
    grad: Tensor, states: Tensor, gates: Tensor, weight: Tensor, bias: Tensor, h: Tensor, skip: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of `gru_scan` with respect to gates, weight, bias and h. All gates are recomputed in one product."""
    before = torch.cat((h[:, None], states[:, :-1]), dim=1)  # (B, T, n)
    reset, update, candidate, h_candidate = _gru_gates(gates, before @ weight.T + bias)
    # Derivative of the new state by each pre-activation, for a gradient of one.
    by_candidate = (1 - update) * (1 - candidate**2)
    by_update = (before - candidate) * update * (1 - update)
    by_reset = by_candidate * h_candidate * reset * (1 - reset)
    act = (~skip)[..., None].to(grad.dtype)
    g = torch.zeros_like(h)
    x_side, h_side = torch.empty_like(gates), torch.empty_like(gates)
    for t in range(gates.shape[1] - 1, -1, -1):
        g = g + grad[:, t]
        d = g * act[:, t]
        parts = (d * by_reset[:, t], d * by_update[:, t], d * by_candidate[:, t])
        x_side[:, t] = torch.cat(parts, dim=-1)
        h_side[:, t] = torch.cat((*parts[:2], parts[2] * reset[:, t]), dim=-1)
        g = g - d + d * update[:, t] + h_side[:, t] @ weight
    return x_side, torch.einsum("btg,btn->gn", h_side, before), h_side.sum((0, 1)), g


@gru_scan_backward.register_fake
def _(
    grad: Tensor, states: Tensor, gates: Tensor, weight: Tensor, bias: Tensor, h: Tensor, skip: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return torch.empty_like(gates), torch.empty_like(weight), torch.empty_like(bias), torch.empty_like(h)


def _save_gru(ctx: FunctionCtx, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(output, *inputs)


def _gru_backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
    states, gates, weight, bias, h, skip = ctx.saved_tensors  # type: ignore[attr-defined]
    return *gru_scan_backward(grad, states, gates, weight, bias, h, skip), None


def _refuse(ctx: FunctionCtx, *grads: Tensor) -> tuple[None, ...]:
    raise RuntimeError("lot_toroidal::gru_scan cannot be differentiated twice")


gru_scan.register_autograd(_gru_backward, setup_context=_save_gru)
gru_scan_backward.register_autograd(_refuse, setup_context=lambda ctx, inputs, output: None)


# What the operators count as: 2 for a multiply-add of a product of matrices, 1 for each result of an elementwise function, 1
# for each number that a sum reads, as everywhere in LOT.

Shape = tuple[int, ...]


@register_flop_formula(torch.ops.lot_toroidal.linear_scan)  # type: ignore[untyped-decorator]
def linear_scan_operations(a: Shape, b: Shape, **_: Any) -> int:
    """3 B n (T - s) in each round, s = 1, 2, 4 ... below T: a product and a sum for h, a product for a."""
    B, T, n = b
    rounds = max(0, (T - 1).bit_length())
    return 3 * B * n * (rounds * T - (2**rounds - 1))


@register_flop_formula(torch.ops.lot_toroidal.gru_scan)  # type: ignore[untyped-decorator]
def gru_scan_operations(gates: Shape, weight: Shape, bias: Shape, h: Shape, skip: Shape, **_: Any) -> int:
    """B T (6 n^2 + 13 n): the product with the hidden weights and its bias 3 n, gates 7 n, and the new state 3 n."""
    B, T, n = gates[0], gates[1], h[1]
    return B * T * (6 * n * n + 13 * n)


@register_flop_formula(torch.ops.lot_toroidal.gru_scan_backward)  # type: ignore[untyped-decorator]
def gru_scan_backward_operations(
    grad: Shape, states: Shape, gates: Shape, weight: Shape, bias: Shape, h: Shape, skip: Shape, **_: Any
) -> int:
    """B T (18 n^2 + 35 n): gates again, the adjoint through the hidden weights, and the gradient of these, 6 n^2 each.

    Gates 10 n with their bias, their derivatives 12 n, the adjoint 10 n, and the gradient of the bias 3 n.
    """
    B, T, n = gates[0], gates[1], h[1]
    return B * T * (18 * n * n + 35 * n)


@export_form(torch.ops.lot_toroidal.gru_scan.default)
def gru_scan_form(gates: Tensor, weight: Tensor, bias: Tensor, h: Tensor, skip: Tensor) -> Tensor:
    """`gru_scan` as it stands, for any number of positions."""

    def step(states: Tensors, inputs: Tensors, constants: Tensors) -> tuple[Tensors, Tensors]:
        after = next_gru_state(*inputs, *states, *constants)
        return (after,), (after,)

    _, (found,) = scan(step, (h,), (gates.transpose(0, 1), skip.transpose(0, 1)), (weight, bias))
    return found.transpose(0, 1).contiguous()
