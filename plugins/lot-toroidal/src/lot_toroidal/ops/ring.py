"""Blockwise toroidal attention over a ring of processes: keys and values travel, log-sum-exps merge what they give.

After Liu et al., "Ring Attention with Blockwise Transformers for Near-Infinite Context" (2023), with the bias of the torus.
torch's context parallelism does not serve here: it replaces scaled_dot_product_attention for the whole process while it is active,
takes no bias, and does not run over gloo.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from lot_toroidal.ops.exchange import redistribute, send_on
from lot_toroidal.ops.layout import Layout
from lot_toroidal.ops.torus import Torus


def tiles_of(layout: Layout, torus: Torus, rank: int, block: int) -> int:
    """How many tiles of `block` x `block` positions process `rank` computes: its share of the work."""
    return sum(1 for step in range(layout.members.world) for _ in _visits(layout, torus, rank, step, block))


def ring_attention(
    q: Tensor, k: Tensor, v: Tensor, torus: Torus, layout: Layout, *, padding: Tensor | None = None, block: int = 256
) -> Tensor:
    """As `reference.dense_attention` over the whole sequence, of which q, k, v (B, H, T / W, D, p) are this process's part.

    Process r brings positions r T / W to (r + 1) T / W - 1, and gets the outputs of these. padding (B, T / W) bool, True where
    a key is padding. Memory: O(T / W + block^2). Sums run in float32 or wider.
    """
    return _Ring.apply(q, k, v, padding, torus, layout, block)  # type: ignore[no-any-return, no-untyped-call]


class _Tile(NamedTuple):
    """Rows of the queries held and columns of the keys visiting, with the position of the first of each."""

    rows: slice
    columns: slice
    query: int
    key: int


def _visits(layout: Layout, torus: Torus, rank: int, step: int, block: int) -> Iterator[_Tile]:
    """The tiles in which process `rank` sees anything at `step`, when the keys of process rank - step are with it."""
    visitor = (rank - step) % layout.members.world
    for i, query_chunk in enumerate(layout.chunks(rank)):
        for j, key_chunk in enumerate(layout.chunks(visitor)):
            for a in range(0, layout.chunk, block):
                for b in range(0, layout.chunk, block):
                    a_end, b_end = min(a + block, layout.chunk), min(b + block, layout.chunk)
                    query, key = query_chunk * layout.chunk + a, key_chunk * layout.chunk + b
                    seen = torus.key_ranges(query, query + a_end - a - 1, torus.period)
                    if any(first < key + b_end - b and key < last for first, last in seen):
                        rows = slice(i * layout.chunk + a, i * layout.chunk + a_end)
                        yield _Tile(rows, slice(j * layout.chunk + b, j * layout.chunk + b_end), query, key)


def _scores(q: Tensor, k: Tensor, hidden: Sequence[Tensor], torus: Torus, tile: _Tile) -> Tensor:
    """Biased and masked scores of a tile: q (B, H, c, D, p), k (B, H, K, D, p) -> (B, H, c, D, K, D).

    hidden: (B, 1, positions) padding of the keys that are visiting, or nothing.
    """
    c, K = q.shape[2], k.shape[2]
    first = tile.key - (tile.query + c - 1)
    table = torus.bias(first, tile.key + K - 1 - tile.query, q.device, q.dtype)  # (D, c + K - 1, D)
    i, j = torch.arange(c, device=q.device)[:, None], torch.arange(K, device=q.device)
    bias = table[:, tile.key + j - tile.query - i - first].transpose(0, 1)  # (c, D, K, D)
    score = q.flatten(2, 3) @ k.flatten(2, 3).transpose(-1, -2) / math.sqrt(q.shape[-1])
    score = score.view(*q.shape[:4], K, torus.depth) + bias
    for padding in hidden:
        blind = padding[:, :, tile.columns].bool() & (tile.key + j != tile.query + i)  # (B, c, K)
        score = score.masked_fill(blind[:, None, :, None, :, None], -math.inf)
    return score


def _finite(lse: Tensor) -> Tensor:
    """0 for rows that have seen nothing yet, whose every weight is exp(-inf)."""
    return torch.where(lse == -math.inf, 0.0, lse)


class _Ring(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        padding: Tensor | None,
        torus: Torus,
        layout: Layout,
        block: int,
    ) -> Tensor:
        """The keys and values of all processes pass by; the tiles of a row merge by their log-sum-exps."""
        dtype, wide = q.dtype, torch.promote_types(q.dtype, torch.float32)
        # Padding travels as bytes, its positions in dimension 2, as those of all that is sent.
        hidden = [] if padding is None else [padding.to(torch.uint8)[:, None]]
        held = redistribute((q.to(wide), k.to(wide), v.to(wide), *hidden), layout, balanced=True)
        q, visiting = held[0], held[1:]
        o, lse = torch.zeros_like(q), q.new_full(q.shape[:-1], -math.inf)
        world, rank = layout.members.world, layout.members.rank
        for step in range(world):
            pending = send_on(visiting, layout.members) if step + 1 < world else None
            keys, values, *blind = visiting
            for tile in _visits(layout, torus, rank, step, block):
                rows, columns = tile.rows, tile.columns
                score = _scores(q[:, :, rows], keys[:, :, columns], blind, torus, tile).flatten(4)  # (B, H, c, D, K D)
                before, merged = lse[:, :, rows], torch.logaddexp(lse[:, :, rows], score.logsumexp(-1))
                weights = torch.exp(score - _finite(merged)[..., None]).flatten(2, 3)
                gained = (weights @ values[:, :, columns].flatten(2, 3)).view_as(o[:, :, rows])
                o[:, :, rows] = o[:, :, rows] * torch.exp(before - _finite(merged))[..., None] + gained
                lse[:, :, rows] = merged
            visiting = visiting if pending is None else pending.wait()
        ctx.save_for_backward(*held, o, lse)
        ctx.torus, ctx.layout, ctx.block = torus, layout, block  # type: ignore[attr-defined]
        (mine,) = redistribute((o,), layout, balanced=False)
        return mine.to(dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Keys and values travel once more, their gradients with them until they are home again."""
        q, *travelers, o, lse = ctx.saved_tensors  # type: ignore[attr-defined]
        torus, layout, block = ctx.torus, ctx.layout, ctx.block  # type: ignore[attr-defined]
        dtype, world, rank = grad.dtype, layout.members.world, layout.members.rank
        (grad,) = redistribute((grad.to(q.dtype),), layout, balanced=True)
        delta = (grad * o).sum(-1, keepdim=True)  # what the softmax takes back, one number per row
        dq, dk, dv = torch.zeros_like(q), torch.zeros_like(q), torch.zeros_like(q)
        visiting = tuple(travelers)
        for step in range(world):
            pending = send_on(visiting, layout.members) if step + 1 < world else None
            keys, values, *blind = visiting
            for tile in _visits(layout, torus, rank, step, block):
                rows, columns = tile.rows, tile.columns
                query, key = q[:, :, rows], keys[:, :, columns]
                score = _scores(query, key, blind, torus, tile).flatten(4)
                weights = torch.exp(score - lse[:, :, rows][..., None]).flatten(2, 3)  # (B, H, c D, K D)
                do, value = grad[:, :, rows].flatten(2, 3), values[:, :, columns].flatten(2, 3)
                dscore = weights * (do @ value.transpose(-1, -2) - delta[:, :, rows].flatten(2, 3))
                dscore = dscore / math.sqrt(q.shape[-1])
                dq[:, :, rows] += (dscore @ key.flatten(2, 3)).view_as(query)
                dk[:, :, columns] += (dscore.transpose(-1, -2) @ query.flatten(2, 3)).view_as(key)
                dv[:, :, columns] += (weights.transpose(-1, -2) @ do).view_as(key)
            if world > 1:
                dk, dv = send_on((dk, dv), layout.members).wait()
            visiting = visiting if pending is None else pending.wait()
        home = redistribute((dq, dk, dv), layout, balanced=False)
        return *(part.to(dtype) for part in home), None, None, None, None
