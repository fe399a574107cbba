"""Interference of all pairs of tokens, tile by tile: nothing of size T x T x W is ever stored, forward or backward.

For queries q and keys k, waves w, amplitudes A, frequencies f, phases p and lag t = t_q - t_k,

    angle_w = (f_qw - f_kw) t + p_qw - p_kw
    I = sum_w A_qw^2 + A_kw^2 + 2 A_qw A_kw cos angle_w
    E = sum_w (A_qw + A_kw)^2

A tile is a block of queries against a block of keys. With m the time of the middle of each block and s = t - m, the angle
is a product of two rank-4 factors,

    angle_w = [f_q (t_q - m_k) + p_q] - [f_k (m_q - t_k) + p_k] - f_q s_k - f_k s_q

whose two brackets belong to one token each: they are formed and wrapped in float64, for all tiles of a block of queries
at once, which costs next to nothing and makes tiles more accurate than the formula evaluated in float32.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from lot_wave.kernels import EPSILON
from lot_wave.waves import Waves, positions, turn

TILE = {"cpu": 64, "cuda": 128}
"""Queries, and keys, of a tile: the smaller, the less of it lies in the future; the larger, the fewer calls."""
TINY = 1e-18
"""Least amplitude in products, which are divided by it again: its square is far below what float32 adds to anything."""
ELEMENTS = {"cpu": 1 << 18, "cuda": 1 << 25}
"""Angles evaluated at once: about the second-level cache of a core, or enough work to fill a GPU (128 MB a buffer)."""


def pairwise_attention(
    query: Waves,
    key: Waves,
    v: Tensor,
    *,
    normalise: str,
    causal: bool,
    padding: Tensor | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """The weighted values (B, H, Tq, d) of pairwise interference, in the dtype of v (B, H, Tk, d).

    Queries are the last Tq of the Tk positions. normalise: `energy` (I / E), `row` (I over its row sum) or `softmax`
    (of I / sqrt(W)). padding: (B, Tk) bool; a padded key is seen by nobody but itself. dropout: probability on weights.
    """
    B, H = v.shape[:2]
    # The waves run first, so that all tokens of one wave lie side by side.
    packed_q, packed_k = (torch.stack(waves, dim=2).transpose(-1, -2).flatten(0, 1) for waves in (query, key))
    dtype = packed_q.dtype
    hidden = None if padding is None else padding[:, None].expand(B, H, -1).flatten(0, 1)
    # Drawn here and not inside, so that backward drops what forward dropped.
    seed = torch.randint(2**62, (), dtype=torch.int64) if dropout > 0 else None
    y, _ = _forward(packed_q, packed_k, v.to(dtype).flatten(0, 1), hidden, seed, normalise, causal, dropout)
    return y.unflatten(0, (B, H)).to(v.dtype)  # type: ignore[no-any-return]


class _Tile(NamedTuple):
    """Rows n of the batch, query columns q and key columns k; `number` counts tiles, `column` those of a block."""

    number: int
    column: int
    n: slice
    q: slice
    k: slice


class _Row(NamedTuple):
    """What the K tiles of one block of c queries share; `end` keys are in reach."""

    q: Tensor
    """Waves (n, 3, W, c) of the queries."""
    k: Tensor
    """Waves (n, 3, W, end) of the keys."""
    left: Tensor
    """Factors (K, n, W, c, 4) of the angles."""
    right: Tensor
    """Factors (n, W, 4, end) of the angles."""
    pull: Tensor
    """2 A_q, (n, W, c, 1), no smaller than TINY."""
    reach: Tensor
    """A_k, (n, W, 1, end), no smaller than TINY."""
    energy_q: Tensor
    """Sum over waves of A^2, (n, c, 1)."""
    energy_k: Tensor
    """Likewise, (n, 1, end)."""
    s_q: Tensor
    """Times (c,) from the middle of the block."""
    s_k: Tensor
    """Times (end,) from the middle of each key's block."""
    since_k: Tensor
    """Times (K, c) from the middle of a block of keys to a query."""
    until_q: Tensor
    """Times (end,) from a key to the middle of the queries."""

    def angles(self, tile: _Tile) -> Tensor:
        """(n, W, c, ck)."""
        return self.left[tile.column] @ self.right[..., tile.k]

    def interfere(self, tile: _Tile, wave: Tensor) -> Tensor:
        """2 A_q A_k times cos or sin of the angle, `wave` (n, W, c, ck), which becomes the product."""
        return wave.mul_(self.pull).mul_(self.reach[..., tile.k])

    def intensity(self, tile: _Tile, product: Tensor) -> Tensor:
        """I (n, c, ck) from 2 A_q A_k cos angle (n, W, c, ck)."""
        return product.sum(1).add_(self.energy_q).add_(self.energy_k[..., tile.k])

    def energy(self, tile: _Tile) -> Tensor:
        """E (n, c, ck): the largest intensity that these amplitudes can give."""
        total = self.energy_q + self.energy_k[..., tile.k]
        return total.baddbmm_(self.q[:, 0].mT, self.k[:, 0, :, tile.k], alpha=2.0)


def _row(q_waves: Tensor, k_waves: Tensor, block: list[_Tile]) -> _Row:
    rows, columns, end = block[0].n, block[0].q, block[-1].k.stop
    q, k = q_waves[rows, ..., columns], k_waves[rows, ..., :end]
    time = positions(k_waves.shape[-1], 0, q.device)
    t_q, t_k = time[k_waves.shape[-1] - q_waves.shape[-1] :][columns], time[:end]
    middle_q = t_q.mean()
    middles = torch.tensor([(tile.k.start + tile.k.stop - 1) / 2 for tile in block], device=q.device, dtype=time.dtype)
    s_q, since_k, until_q = t_q - middle_q, t_q - middles[:, None], middle_q - t_k
    s_k = t_k - middles[torch.arange(end, device=q.device) // (block[0].k.stop - block[0].k.start)]
    A_q, f_q, p_q = q.unbind(1)
    A_k, f_k, p_k = k.unbind(1)
    left = turn(p_q, f_q, since_k[:, None, None])  # (K, n, W, c)
    right = turn(p_k, f_k, until_q)
    s_q, s_k, since_k, until_q = (part.to(q.dtype) for part in (s_q, s_k, since_k, until_q))
    return _Row(
        q=q,
        k=k,
        left=torch.stack(torch.broadcast_tensors(left, left.new_ones(()), f_q, s_q), dim=-1),
        right=torch.stack(torch.broadcast_tensors(right.new_ones(()), -right, -s_k, -f_k), dim=-2),
        pull=2 * A_q[..., None].clamp(min=TINY),
        reach=A_k[..., None, :].clamp(min=TINY),
        energy_q=A_q.square().sum(1)[:, :, None],
        energy_k=A_k.square().sum(1)[:, None, :],
        s_q=s_q,
        s_k=s_k,
        since_k=since_k,
        until_q=until_q,
    )


def _allowed(tile: _Tile, offset: int, hidden: Tensor | None, causal: bool, device: torch.device) -> Tensor | None:
    """Where queries may look, (1 or n, cq, ck), or None for everywhere."""
    first, last = offset + tile.q.start, tile.k.stop - 1
    if hidden is None and (not causal or last <= first):
        return None
    rows = torch.arange(first, offset + tile.q.stop, device=device)[:, None]
    columns = torch.arange(tile.k.start, tile.k.stop, device=device)[None, :]
    allowed = (columns <= rows)[None] if causal else torch.ones_like(columns <= rows)[None]
    if hidden is not None:
        allowed = (allowed & ~hidden[tile.n, None, tile.k]) | (rows == columns)
    return allowed


def _kept(tile: _Tile, weight: Tensor, seed: Tensor | None, dropout: float) -> Tensor | None:
    """What dropout leaves of the weights of a tile: 0 or 1 / (1 - dropout); the same whenever it is asked."""
    if seed is None:
        return None
    generator = torch.Generator(weight.device).manual_seed((int(seed) + 0x9E3779B97F4A7C15 * tile.number) % 2**63)
    draw = torch.rand(weight.shape, generator=generator, device=weight.device, dtype=torch.float32)
    return (draw >= dropout).to(weight.dtype).div_(1.0 - dropout)


def _tiles(q_waves: Tensor, k_waves: Tensor, causal: bool) -> Iterator[list[_Tile]]:
    """The tiles, a list for each block of queries, from the first key on; tiles that causality empties are left out."""
    N, _, W, q_len = q_waves.shape
    k_len = k_waves.shape[-1]
    device = "cpu" if q_waves.device.type == "cpu" else "cuda"
    c, d = min(TILE[device], q_len), min(TILE[device], k_len)
    at_once = max(1, ELEMENTS[device] // (W * c * d))
    number = 0
    for n in range(0, N, at_once):
        for q in range(0, q_len, c):
            q_stop = min(q + c, q_len)
            end = k_len - q_len + q_stop if causal else k_len
            block = []
            for column, k in enumerate(range(0, end, d)):
                rows = slice(n, min(n + at_once, N))
                block.append(_Tile(number, column, rows, slice(q, q_stop), slice(k, min(k + d, end))))
                number += 1
            yield block


@torch.library.custom_op("lot_wave::pairwise", mutates_args=())
def _forward(
    q_waves: Tensor,
    k_waves: Tensor,
    v: Tensor,
    hidden: Tensor | None,
    seed: Tensor | None,
    normalise: str,
    causal: bool,
    dropout: float,
) -> tuple[Tensor, Tensor]:
    """y (N, Tq, d) and its row sums, for `softmax` their logarithm, (N, Tq); waves (N, 3, W, T), v (N, Tk, d)."""
    N, _, W, q_len = q_waves.shape
    offset = k_waves.shape[-1] - q_len
    y = v.new_zeros(N, q_len, v.shape[-1])
    statistic = v.new_zeros(N, q_len)
    for block in _tiles(q_waves, k_waves, causal):
        n, columns = block[0].n, block[0].q
        row = _row(q_waves, k_waves, block)
        total = v.new_zeros(n.stop - n.start, columns.stop - columns.start)
        out = v.new_zeros(*total.shape, v.shape[-1])
        top = torch.full_like(total, float("-inf"))
        for tile in block:
            weight = row.intensity(tile, row.interfere(tile, row.angles(tile).cos_()))
            allowed = _allowed(tile, offset, hidden, causal, v.device)
            if normalise == "softmax":
                weight /= math.sqrt(W)
                if allowed is not None:
                    weight.masked_fill_(~allowed, float("-inf"))
                new_top = torch.maximum(top, weight.amax(-1))
                shift = new_top.masked_fill(new_top == float("-inf"), 0.0)
                fade = (top - shift).exp_()
                weight = weight.sub_(shift[..., None]).exp_()
                total, out, top = total * fade, out * fade[..., None], new_top
            else:
                if normalise == "energy":
                    weight /= row.energy(tile).add_(EPSILON)
                if allowed is not None:
                    weight.masked_fill_(~allowed, 0.0)
            total += weight.sum(-1)
            kept = _kept(tile, weight, seed, dropout)
            out.baddbmm_(weight if kept is None else weight.mul_(kept), v[n, tile.k])
        if normalise != "energy":
            # softmax: at least 1, since every query sees itself; only `row` can be silent.
            out /= (total + EPSILON if normalise == "row" else total)[..., None]
        y[n, columns] = out
        statistic[n, columns] = total if normalise == "row" else top + total.log()
    return y, statistic


@_forward.register_fake
def _(q_waves, k_waves, v, hidden, seed, normalise, causal, dropout):  # type: ignore[no-untyped-def]
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
    normalise: str,
    causal: bool,
    dropout: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of q_waves, k_waves and v, from tiles computed anew."""
    W, q_len = q_waves.shape[-2:]
    offset = k_waves.shape[-1] - q_len
    dq_waves, dk_waves, dv = torch.zeros_like(q_waves), torch.zeros_like(k_waves), torch.zeros_like(v)
    mean = (dy * y).sum(-1)  # (N, Tq): sum over keys of weight times its gradient
    for block in _tiles(q_waves, k_waves, causal):
        n, columns = block[0].n, block[0].q
        row = _row(q_waves, k_waves, block)
        dy_block, mean_block, stat = dy[n, columns], mean[n, columns, None], statistic[n, columns, None]
        for tile in block:
            allowed = _allowed(tile, offset, hidden, causal, v.device)
            angle = row.angles(tile)
            cosine = row.interfere(tile, angle.cos())
            dI = dy_block @ v[n, tile.k].transpose(1, 2)  # so far: gradient of the weight that multiplied v
            kept = _kept(tile, dI, seed, dropout)
            if kept is not None:
                dI *= kept
            dE = None
            if normalise == "row":
                weight = row.intensity(tile, cosine).div_(stat + EPSILON)
                dI.sub_(mean_block).div_(stat + EPSILON)
            elif normalise == "softmax":
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
    dq: Tensor, dk: Tensor, row: _Row, tile: _Tile, dI: Tensor, dE: Tensor | None, cosine: Tensor, sine: Tensor
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
    q_waves, k_waves, v, hidden, seed, normalise, causal, dropout = inputs
    y, statistic = output
    ctx.save_for_backward(y, statistic, q_waves, k_waves, v, hidden, seed)
    ctx.options = (normalise, causal, dropout)
    ctx.mark_non_differentiable(statistic)


def _gradient(ctx, dy, _):  # type: ignore[no-untyped-def]
    dq_waves, dk_waves, dv = _backward(dy.contiguous(), *ctx.saved_tensors, *ctx.options)
    return dq_waves, dk_waves, dv, None, None, None, None, None


def _no_second_gradient(ctx, *gradients):  # type: ignore[no-untyped-def]
    raise NotImplementedError("pairwise interference has no second derivative; use lot_wave.reference for one")


_forward.register_autograd(_gradient, setup_context=_setup)
_backward.register_autograd(_no_second_gradient)

# Angles in 16 bits would be noise: under autocast both operators see float32 and work in it.
for _operator in ("lot_wave::pairwise", "lot_wave::pairwise_backward"):
    for _device in ("cpu", "cuda"):
        torch.library.register_autocast(_operator, _device, torch.float32)
