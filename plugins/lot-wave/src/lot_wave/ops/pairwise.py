"""Interference of all pairs of tokens, tile by tile: nothing of size T x T x W is ever stored, forward or backward.

For queries q and keys k, waves w, amplitudes A, frequencies f, phases p and lag t = t_q - t_k,

    angle_w = (f_qw - f_kw) t + p_qw - p_kw
    I = sum_w A_qw^2 + A_kw^2 + 2 A_qw A_kw cos angle_w
    E = sum_w (A_qw + A_kw)^2
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from lot.nn import attention_mask, export_form, scan
from lot_wave.ops.positive_kernels import EPSILON
from lot_wave.ops.tiles import Row, Tile, allowed_in, row_of, tiles
from lot_wave.ops.waves import Waves, positions, turn

Tensors = tuple[Tensor, ...]


def pairwise_attention(
    query: Waves,
    key: Waves,
    v: Tensor,
    *,
    normalize: str,
    causal: bool,
    padding: Tensor | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """The weighted values (B, H, Tq, d) of pairwise interference, in the dtype of v (B, H, Tk, d).

    Queries are the last Tq of the Tk positions. normalize: `energy` (I / E), `row` (I over its row sum) or `softmax`
    (of I / sqrt(W)). padding: (B, Tk) bool; a padded key is seen by itself only. dropout: probability on weights.
    """
    B, H = v.shape[:2]
    # The waves run first, so that all tokens of one wave lie side by side.
    packed_q, packed_k = (torch.stack(waves, dim=2).transpose(-1, -2).flatten(0, 1) for waves in (query, key))
    dtype = packed_q.dtype
    hidden = None if padding is None else padding[:, None].expand(B, H, -1).flatten(0, 1)
    # Drawn here and not inside, so that backward drops what forward dropped.
    seed = torch.randint(2**62, (), dtype=torch.int64) if dropout > 0 else None
    y, _ = _forward(packed_q, packed_k, v.to(dtype).flatten(0, 1), hidden, seed, normalize, causal, dropout)
    return y.unflatten(0, (B, H)).to(v.dtype)  # type: ignore[no-any-return]


def _kept(tile: Tile, weight: Tensor, seed: Tensor | None, dropout: float) -> Tensor | None:
    """What dropout leaves of the weights of a tile: 0 or 1 / (1 - dropout); the same whenever it is asked."""
    if seed is None:
        return None
    generator = torch.Generator(weight.device).manual_seed((int(seed) + 0x9E3779B97F4A7C15 * tile.number) % 2**63)
    draw = torch.rand(weight.shape, generator=generator, device=weight.device, dtype=torch.float32)
    return (draw >= dropout).to(weight.dtype).div_(1.0 - dropout)


@torch.library.custom_op("lot_wave::pairwise", mutates_args=())
def _forward(
    q_waves: Tensor,
    k_waves: Tensor,
    v: Tensor,
    hidden: Tensor | None,
    seed: Tensor | None,
    normalize: str,
    causal: bool,
    dropout: float,
) -> tuple[Tensor, Tensor]:
    """y (N, Tq, d) and its row sums, for `softmax` their logarithm, (N, Tq); waves (N, 3, W, T), v (N, Tk, d)."""
    N, _, W, q_len = q_waves.shape
    offset = k_waves.shape[-1] - q_len
    y = v.new_zeros(N, q_len, v.shape[-1])
    statistic = v.new_zeros(N, q_len)
    for block in tiles(q_waves, k_waves, causal):
        n, columns = block[0].n, block[0].q
        row = row_of(q_waves, k_waves, block)
        total = v.new_zeros(n.stop - n.start, columns.stop - columns.start)
        out = v.new_zeros(*total.shape, v.shape[-1])
        top = torch.full_like(total, float("-inf"))
        for tile in block:
            weight = row.intensity(tile, row.interfere(tile, row.angles(tile).cos_()))
            allowed = allowed_in(tile, offset, hidden, causal, v.device)
            if normalize == "softmax":
                weight /= math.sqrt(W)
                if allowed is not None:
                    weight.masked_fill_(~allowed, float("-inf"))
                new_top = torch.maximum(top, weight.amax(-1))
                shift = new_top.masked_fill(new_top == float("-inf"), 0.0)
                fade = (top - shift).exp_()
                weight = weight.sub_(shift[..., None]).exp_()
                total, out, top = total * fade, out * fade[..., None], new_top
            else:
                if normalize == "energy":
                    weight /= row.energy(tile).add_(EPSILON)
                if allowed is not None:
                    weight.masked_fill_(~allowed, 0.0)
            total += weight.sum(-1)
            kept = _kept(tile, weight, seed, dropout)
            out.baddbmm_(weight if kept is None else weight.mul_(kept), v[n, tile.k])
        if normalize != "energy":
            # softmax: at least 1, since every query sees itself; only `row` can be silent.
            out /= (total + EPSILON if normalize == "row" else total)[..., None]
        y[n, columns] = out
        statistic[n, columns] = total if normalize == "row" else top + total.log()
    return y, statistic


@_forward.register_fake
def _(q_waves, k_waves, v, hidden, seed, normalize, causal, dropout):  # type: ignore[no-untyped-def]
    N, q_len = q_waves.shape[0], q_waves.shape[-1]
    return v.new_empty(N, q_len, v.shape[-1]), v.new_empty(N, q_len)


@torch.library.custom_op("lot_wave::pairwise_backward", mutates_args=())
def _backward(
    dy: Tensor,
    y: Tensor,
    statistic: Tensor,
    q_waves: Tensor,
    k_waves: Tensor,
    v: Tensor,
    hidden: Tensor | None,
    seed: Tensor | None,
    normalize: str,
    causal: bool,
    dropout: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of q_waves, k_waves and v, from tiles computed anew."""
    W, q_len = q_waves.shape[-2:]
    offset = k_waves.shape[-1] - q_len
    dq_waves, dk_waves, dv = torch.zeros_like(q_waves), torch.zeros_like(k_waves), torch.zeros_like(v)
    mean = (dy * y).sum(-1)  # (N, Tq): sum over keys of weight times its gradient
    for block in tiles(q_waves, k_waves, causal):
        n, columns = block[0].n, block[0].q
        row = row_of(q_waves, k_waves, block)
        dy_block, mean_block, stat = dy[n, columns], mean[n, columns, None], statistic[n, columns, None]
        for tile in block:
            allowed = allowed_in(tile, offset, hidden, causal, v.device)
            angle = row.angles(tile)
            cosine = row.interfere(tile, angle.cos())
            dI = dy_block @ v[n, tile.k].transpose(1, 2)  # so far: gradient of the weight that multiplied v
            kept = _kept(tile, dI, seed, dropout)
            if kept is not None:
                dI *= kept
            dE = None
            if normalize == "row":
                weight = row.intensity(tile, cosine).div_(stat + EPSILON)
                dI.sub_(mean_block).div_(stat + EPSILON)
            elif normalize == "softmax":
                weight = row.intensity(tile, cosine).div_(math.sqrt(W)).sub_(stat).exp_()
                dI.sub_(mean_block).mul_(weight).div_(math.sqrt(W))
            else:
                total = row.energy(tile).add_(EPSILON)
                weight = row.intensity(tile, cosine).div_(total)
                dI.div_(total)
                dE = -dI * weight
            if allowed is not None:
                # softmax: an intensity that was masked may be any number, so 0 is set and not multiplied.
                for part in (dI, weight) if dE is None else (dI, weight, dE):
                    part.masked_fill_(~allowed, 0.0)
            dv[n, tile.k].baddbmm_((weight if kept is None else weight.mul_(kept)).transpose(1, 2), dy_block)
            _accumulate(
                dq_waves[n, ..., columns],
                dk_waves[n, ..., tile.k],
                row,
                tile,
                dI,
                dE,
                cosine,
                row.interfere(tile, angle.sin_()),
            )
    return dq_waves, dk_waves, dv


def _accumulate(
    dq: Tensor, dk: Tensor, row: Row, tile: Tile, dI: Tensor, dE: Tensor | None, cosine: Tensor, sine: Tensor
) -> None:
    """Add a tile's part to the gradients dq (n, 3, W, c) and dk (n, 3, W, ck).

    cosine, sine: of the angle, times 2 A_q A_k, (n, W, c, ck); they are used up.
    """
    A_q, A_k = row.q[:, 0], row.k[:, 0, :, tile.k]
    plain = dI if dE is None else dI + dE  # what multiplies A_q^2 and A_k^2
    cosine.mul_(dI[:, None])
    dq[:, 0] += 2 * A_q * plain.sum(-1)[:, None] + cosine.sum(-1) / (0.5 * row.pull[..., 0])
    dk[:, 0] += 2 * A_k * plain.sum(-2)[:, None] + cosine.sum(-2) / row.reach[..., 0, tile.k]
    if dE is not None:
        dq[:, 0] += 2 * A_k @ dE.mT
        dk[:, 0] += 2 * A_q @ dE
    # -dL/d angle = 2 A_q A_k sin(angle) dI; its moments in time give the frequencies' part.
    force = sine.mul_(dI[:, None])
    on_q, on_k = force.sum(-1), force.sum(-2)
    dq[:, 2] -= on_q
    dq[:, 1] -= row.since_k[tile.column] * on_q - force @ row.s_k[tile.k]
    dk[:, 2] += on_k
    dk[:, 1] += row.until_q[tile.k] * on_k + row.s_q @ force


@_backward.register_fake
def _(dy, y, statistic, q_waves, k_waves, v, *rest):  # type: ignore[no-untyped-def]
    return torch.empty_like(q_waves), torch.empty_like(k_waves), torch.empty_like(v)


def _setup(ctx, inputs, output):  # type: ignore[no-untyped-def]
    q_waves, k_waves, v, hidden, seed, normalize, causal, dropout = inputs
    y, statistic = output
    ctx.save_for_backward(y, statistic, q_waves, k_waves, v, hidden, seed)
    ctx.options = (normalize, causal, dropout)
    ctx.mark_non_differentiable(statistic)


def _gradient(ctx, dy, _):  # type: ignore[no-untyped-def]
    dq_waves, dk_waves, dv = _backward(dy.contiguous(), *ctx.saved_tensors, *ctx.options)
    return dq_waves, dk_waves, dv, None, None, None, None, None


def _no_second_gradient(ctx, *gradients):  # type: ignore[no-untyped-def]
    raise NotImplementedError("pairwise interference has no second derivative; use lot_wave.ops.reference for one")


_forward.register_autograd(_gradient, setup_context=_setup)
_backward.register_autograd(_no_second_gradient)

# Angles in 16 bits would be noise: under autocast both operators see float32 and work in it.
for _operator in ("lot_wave::pairwise", "lot_wave::pairwise_backward"):
    for _device in ("cpu", "cuda"):
        torch.library.register_autocast(_operator, _device, torch.float32)


@export_form(torch.ops.lot_wave.pairwise.default)
def pairwise_form(
    q_waves: Tensor,
    k_waves: Tensor,
    v: Tensor,
    hidden: Tensor | None,
    seed: Tensor | None,
    normalize: str,
    causal: bool,
    dropout: float,
) -> tuple[Tensor, Tensor]:
    """`lot_wave::pairwise` without dropout: all pairs of tokens at once, O(T^2) memory, one wave after another."""
    assert seed is None, "a program is exported for evaluation, which drops nothing"
    N, _, W, q_len = q_waves.shape
    k_len = k_waves.shape[-1]
    time = positions(k_len, 0, v.device)
    lag = time[k_len - q_len :, None] - time  # (Tq, Tk)

    def add_wave(states: Tensors, inputs: Tensors, constants: Tensors) -> tuple[Tensors, Tensors]:
        (A_q, f_q, p_q), (A_k, f_k, p_k) = (part.unbind(0) for part in inputs)  # (N, Tq) and (N, Tk) each
        beat = f_q.to(lag.dtype)[:, :, None] - f_k.to(lag.dtype)[:, None]
        angle = turn(p_q[:, :, None] - p_k[:, None], beat, constants[0])
        return (states[0] + 2 * A_q[:, :, None] * A_k[:, None] * angle.cos(),), ()

    products = v.new_zeros(N, q_len, k_len)
    by_wave = (q_waves.permute(2, 1, 0, 3), k_waves.permute(2, 1, 0, 3))  # (W, 3, N, T)
    (products,), _ = scan(add_wave, (products,), by_wave, (lag,))
    A_q, A_k = q_waves[:, 0], k_waves[:, 0]  # (N, W, T)
    energies = A_q.square().sum(1)[:, :, None] + A_k.square().sum(1)[:, None]
    weight = products + energies
    allowed = attention_mask(q_len, k_len, causal, None, v.device)
    if hidden is not None:
        position = torch.arange(k_len, device=v.device)
        own = position[k_len - q_len :, None] == position
        seen = ~hidden[:, None] | own
        allowed = seen if allowed is None else allowed & seen
    if normalize == "softmax":
        score = weight / math.sqrt(W)
        score = score if allowed is None else score.masked_fill(~allowed, float("-inf"))
        return score.softmax(-1) @ v, score.logsumexp(-1)
    if normalize == "energy":
        weight = weight / (energies + 2 * A_q.mT @ A_k + EPSILON)
    weight = weight if allowed is None else weight.masked_fill(~allowed, 0.0)
    total = weight.sum(-1)
    y = weight @ v
    return (y / (total + EPSILON)[..., None] if normalize == "row" else y), total


# What the operators count as, for each pair of tokens in a tile: 2 for a multiply-add of a product of matrices, 1 for each
# result of an elementwise function, 1 for each number that a sum reads, as everywhere in LOT. What is done once for each token
# of a tile is left out: 3 % of it at 8 waves, less at more.


def _pairs(q_waves: Tensor, k_waves: Tensor, causal: bool) -> int:
    """Pairs of tokens in tiles, over the batch: those in the future too, where their tile is not left out as a whole."""
    sides = ((tile.n, tile.q, tile.k) for block in tiles(q_waves, k_waves, causal) for tile in block)
    return sum(math.prod(side.stop - side.start for side in three) for three in sides)


@register_flop_formula(torch.ops.lot_wave.pairwise, get_raw=True)  # type: ignore[untyped-decorator]
def pairwise_operations(
    q_waves: Tensor,
    k_waves: Tensor,
    v: Tensor,
    hidden: Tensor | None,
    seed: Tensor | None,
    normalize: str,
    causal: bool,
    dropout: float,
    **_: Any,
) -> int:
    """12 W + 2 d + 2, and 5 for softmax, 1 for row, 2 W + 5 for energy.

    Of each wave the angle 8, its cosine 1, the amplitudes 2 and the sum 1; the energies 2; the product with the values 2 d.
    """
    waves, d = q_waves.shape[-2], v.shape[-1]
    own = {"softmax": 5, "row": 1, "energy": 2 * waves + 5}[normalize]
    return _pairs(q_waves, k_waves, causal) * (12 * waves + 2 * d + 2 + own + 2 * (seed is not None))


@register_flop_formula(torch.ops.lot_wave.pairwise_backward, get_raw=True)  # type: ignore[untyped-decorator]
def pairwise_backward_operations(
    dy: Tensor,
    y: Tensor,
    statistic: Tensor,
    q_waves: Tensor,
    k_waves: Tensor,
    v: Tensor,
    hidden: Tensor | None,
    seed: Tensor | None,
    normalize: str,
    causal: bool,
    dropout: float,
    **_: Any,
) -> int:
    """25 W + 4 d + 4, and 6 for softmax, 3 for row, 6 W + 8 for energy.

    Of each wave the angle 8, cosine and sine 2, the amplitudes 4, the intensity 1, both times its gradient 2, their sums over
    queries and over keys 4, and the moments in time 4; the intensity's energies and the sums of its gradient 4; the gradients
    of weights and values 4 d.
    """
    waves, d = q_waves.shape[-2], v.shape[-1]
    own = {"softmax": 6, "row": 3, "energy": 6 * waves + 8}[normalize]
    return _pairs(q_waves, k_waves, causal) * (25 * waves + 4 * d + 4 + own + 3 * (seed is not None))
