"""Convolution of platters along the sequence: weights that depend on the lag only, applied by FFT.

Sums run in float64: weights are exponentials of scores, and an FFT spreads the rounding error of the largest over all.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from lot.nn import export_form

BLOCK = 64
"""Positions whose lags among themselves are summed directly rather than by FFT."""


def convolve(w: Tensor, v: Tensor) -> Tensor:
    """o[i, k] = sum_j sum_l w[k, l, (i - j) mod N] v[j, l] on the whole ring, O(N log N): (B, H, T, D, p), float64.

    w (B or 1, H, D, D, N), v (B, H, T, D, p) with T <= N; positions from T on are empty.
    """
    N, T = w.shape[-1], v.shape[2]
    spectrum = torch.fft.rfft(w.double()).permute(0, 1, 4, 2, 3)  # (B, H, F, D, D)
    values = torch.fft.rfft(_to_length(v.double(), N), dim=2)  # (B, H, F, D, p)
    o: Tensor = torch.fft.irfft(spectrum @ values, n=N, dim=2)
    if torch.compiler.is_exporting():  # a program for every length would ask of a view whether T is N
        return o.index_select(2, torch.arange(T, device=o.device))
    return o[:, :, :T]


def correlate_ring(q: Tensor, k: Tensor, period: int, padding: Tensor | None = None) -> Tensor:
    """Mean of q[i, k] . k[j, l] over all pairs with (i - j) mod N equal to a lag, O(N log N): (B, H, D, D, N), float64.

    q, k (B, H, T, D, p) with T <= N = `period`; padding (B, T) bool leaves positions out. Lags that no pair has get 0.
    """
    there = torch.ones(1, q.shape[2], device=q.device, dtype=torch.float64) if padding is None else (~padding).double()
    q, k = (x.double() * there[:, None, :, None, None] for x in (q, k))
    a, b = (torch.fft.rfft(_to_length(x, period), dim=2) for x in (q, k))  # (B, H, F, D, p)
    sums = torch.fft.irfft((a @ b.conj().transpose(-1, -2)).permute(0, 1, 3, 4, 2), n=period)
    there = F.pad(there, (0, period - there.shape[1]))
    pairs = torch.fft.irfft(torch.fft.rfft(there).abs() ** 2, n=period).round()[:, None, None, None]
    return torch.where(pairs > 0, sums / pairs.clamp(min=1), 0.0)


def _to_length(x: Tensor, length: int) -> Tensor:
    """x (B, H, T, D, p) with zeros up to `length` positions.

    Before the FFT and not by it, which in an exported program would take for granted that there is something to fill.
    """
    return F.pad(x, (0, 0, 0, 0, 0, length - x.shape[2]))


@torch.library.custom_op("lot_toroidal::causal_convolve", mutates_args=())
def causal_convolve(w: Tensor, v: Tensor) -> Tensor:
    """o[i, k] = sum_{j <= i} sum_l w[k, l, i - j] v[j, l], (B, H, T, D, p) float64; O(T log^2 T).

    w (H, D, D, T) by lag, v (B, H, T, D, p), both float64. Blocks of `BLOCK` positions are summed directly; then, for
    blocks twice as long at each level, the left half is convolved into the right half. No FFT ever holds a position
    together with an earlier output, so that the future is left out to the last bit.
    """
    B, H, T, D, p = v.shape
    levels = max(0, (-(-T // BLOCK) - 1).bit_length())
    length = BLOCK << levels
    w, v = F.pad(w, (0, length - T)), F.pad(v, (0, 0, 0, 0, 0, length - T))
    o = _within_blocks(w, v)
    for level in range(levels):
        half = BLOCK << level
        left = v.view(B, H, -1, 2, half, D, p)[:, :, :, 0]  # (B, H, n, half, D, p)
        values = torch.fft.rfft(left, n=2 * half, dim=3)
        spectrum = torch.fft.rfft(w[..., : 2 * half]).permute(0, 3, 1, 2)[:, None]  # (H, 1, F, D, D)
        o.view(B, H, -1, 2, half, D, p)[:, :, :, 1] += torch.fft.irfft(spectrum @ values, n=2 * half, dim=3)[
            :, :, :, half:
        ]
    return o[:, :, :T].contiguous()


def _within_blocks(w: Tensor, v: Tensor) -> Tensor:
    """The part of `causal_convolve` whose keys lie in the query's own block."""
    B, H, length, D, p = v.shape
    i = torch.arange(BLOCK, device=w.device)
    lag = i[:, None] - i
    table = torch.where(lag >= 0, w[..., lag.clamp(min=0)], 0.0)  # (H, D, D, i, j)
    table = table.permute(0, 3, 1, 4, 2).reshape(H, 1, BLOCK * D, BLOCK * D)  # rows (i, k), columns (j, l)
    return (table @ v.view(B, H, -1, BLOCK * D, p)).view(B, H, length, D, p)


@causal_convolve.register_fake
def _(w: Tensor, v: Tensor) -> Tensor:
    return torch.empty_like(v)


@torch.library.custom_op("lot_toroidal::causal_correlate", mutates_args=())
def causal_correlate(o: Tensor, v: Tensor) -> Tensor:
    """sum over batch, i and channels of o[i, k] v[i - lag, l], by lag from 0: (H, D, D, T) float64, O(T log T).

    o, v (B, H, T, D, p) float64: the gradient of `causal_convolve` with respect to its weights.
    """
    T = v.shape[2]
    a, b = (torch.fft.rfft(x, n=2 * T, dim=2) for x in (o, v))
    sums: Tensor = torch.fft.irfft(torch.einsum("bhfkp,bhflp->hklf", a, b.conj()), n=2 * T)
    return sums[..., :T].contiguous()


@causal_correlate.register_fake
def _(o: Tensor, v: Tensor) -> Tensor:
    _, H, T, D, _ = v.shape
    return v.new_empty(H, D, D, T)


def _save(ctx: torch.autograd.function.FunctionCtx, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: torch.autograd.function.FunctionCtx, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """Towards the values: the same convolution backwards in time, platters exchanged; towards the weights: a correlation."""
    w, v = ctx.saved_tensors  # type: ignore[attr-defined]
    wants_w, wants_v = ctx.needs_input_grad  # type: ignore[attr-defined]
    backwards = functools.partial(torch.flip, dims=(2,))
    grad_w = causal_correlate(grad, v) if wants_w else None
    grad_v = backwards(causal_convolve(w.transpose(1, 2).contiguous(), backwards(grad))) if wants_v else None
    return grad_w, grad_v


def _refuse(ctx: torch.autograd.function.FunctionCtx, grad: Tensor) -> tuple[None, None]:
    raise RuntimeError("lot_toroidal::causal_correlate has no derivative: toroidal_fft cannot be differentiated twice")


causal_convolve.register_autograd(_backward, setup_context=_save)
causal_correlate.register_autograd(_refuse, setup_context=lambda ctx, inputs, output: None)


# What the operators count as: 2 for a multiply-add of a product of matrices and 8 for a complex one, 1 for each result of an
# elementwise function, and 2.5 N log2 N for a real FFT of N points, as everywhere in LOT.

Shape = tuple[int, ...]


@register_flop_formula(torch.ops.lot_toroidal.causal_convolve)  # type: ignore[untyped-decorator]
def causal_convolve_operations(w: Shape, v: Shape, **_: Any) -> int:
    """Within blocks 2 B H L BLOCK D^2 p, L being T filled up to blocks; at each level the three FFTs and a complex product.

    A level with halves of h positions transforms the weights (H D^2), the left halves and their images (B H D p for each of
    L / 2h pairs), all of 2 h points; the products take 8 (h + 1) D^2 p for each pair, and each right half is added.
    """
    B, H, T, D, p = v
    levels = max(0, (-(-T // BLOCK) - 1).bit_length())
    length = BLOCK << levels
    count = 2 * B * H * length * BLOCK * D * D * p
    for level in range(levels):
        half = BLOCK << level
        pairs = B * H * (length // (2 * half))
        count += _real_fft(2 * half) * (H * D * D + 2 * pairs * D * p)
        count += pairs * (8 * (half + 1) * D * D * p + half * D * p)
    return count


@register_flop_formula(torch.ops.lot_toroidal.causal_correlate)  # type: ignore[untyped-decorator]
def causal_correlate_operations(o: Shape, v: Shape, **_: Any) -> int:
    """FFTs of 2 T points, of both inputs (B H D p each) and of the result (H D^2), and 8 (T + 1) B H D^2 p for the product."""
    B, H, T, D, p = v
    return _real_fft(2 * T) * (2 * B * H * D * p + H * D * D) + 8 * (T + 1) * B * H * D * D * p


def _real_fft(points: int) -> int:
    return round(2.5 * points * math.log2(points))


@export_form(torch.ops.lot_toroidal.causal_convolve.default)
def causal_convolve_form(w: Tensor, v: Tensor) -> Tensor:
    """`causal_convolve` with the weights of all pairs of positions, O(T^2), one platter of queries at a time."""
    T, D = v.shape[2], v.shape[3]
    position = torch.arange(T, device=w.device)
    lag = position[:, None] - position
    values, rows = v.transpose(2, 3), []  # (B, H, D, T, p)
    for platter in range(D):
        pairs = torch.where(lag >= 0, w[:, platter][..., lag.clamp(min=0)], 0.0)  # (H, D, T, T)
        rows.append((pairs @ values).sum(2))  # (B, H, T, p)
    return torch.stack(rows, dim=3)
