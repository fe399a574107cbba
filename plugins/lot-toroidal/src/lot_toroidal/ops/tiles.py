"""Toroidal attention on torch's fused kernels, a chunk of queries at a time: linear memory on every device.

The bias depends on the lag only, so the bias of a whole chunk is a strided view of one short table: row r of the view is
the table from r lags further on. Queries run backwards in a chunk because torch has no negative strides.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from lot_toroidal.ops.torus import Torus

SHORTEST, LONGEST = 32, 256
"""Positions of a chunk of queries, unless it is given."""
FEWEST = 64
"""Queries of a chunk on all platters that are enough: above depth 2, fewer positions than `SHORTEST` have them."""
WRITTEN_OUT = 1 << 18
"""Numbers of a tile's bias up to which a CPU writes it out, so that one call serves all platters: 1 MiB in float32."""


def attend_plain(q: Tensor, k: Tensor, v: Tensor, *, causal: bool, dropout: float) -> Tensor:
    """All platters of all positions in one fused call, unbiased; q, k, v (B, H, T, D, p) of equal length."""
    shape = q.shape
    q, k, v = q.flatten(2, 3), k.flatten(2, 3), v.flatten(2, 3)
    return F.scaled_dot_product_attention(q, k, v, is_causal=causal, dropout_p=dropout).view(shape)


def attend_tiles(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    torus: Torus,
    *,
    padding: Tensor | None = None,
    mask: Tensor | None = None,
    dropout: float = 0.0,
    chunk: int | None = None,
    recompute: bool = False,
) -> Tensor:
    """As `reference.dense_attention`, `chunk` query positions at a time, each against the keys that it may see.

    chunk: None for an eighth of them, `SHORTEST` (or `FEWEST` queries) to `LONGEST`: short ones waste less under a causal
    mask, long ones take fewer calls.
    A tile whose bias had to be written out (a mask that differs by example, a window over the seam, a device that wants
    aligned rows) is recomputed in backward, as `recompute` asks for all: nothing of size T x T outlives its tile.
    """
    Tq, Tk = q.shape[2], k.shape[2]
    offset = Tk - Tq
    chunk = min(max(Tq // 8, min(SHORTEST, -(-FEWEST // q.shape[3]))), LONGEST) if chunk is None else chunk
    backward = q.flip(2)
    # Flat once, so that what a tile reads is a view: flattening a slice of a strided tensor would copy it in every tile.
    read_k, read_v = (_reader(x.flatten(2, 3), torus, chunk) for x in (k, v))
    hidden = (padding, mask)
    stops = range(Tk, offset, -chunk)
    starts = [max(offset, stop - chunk) for stop in stops]
    seen = [torus.key_ranges(start, stop - 1, Tk) for start, stop in zip(starts, stops, strict=True)]
    table = LagTable.of(torus, starts, stops, seen, q)
    outputs = []
    for start, stop, ranges in zip(starts, stops, seen, strict=True):
        view = len(ranges) == 1 and padding is None and mask is None and q.device.type == "cpu"
        queries = backward[:, :, Tk - stop : Tk - start]
        arguments = (queries, read_k(ranges), read_v(ranges), table, start, stop, offset, ranges, hidden, dropout)
        if torch.is_grad_enabled() and (recompute or (Tq > chunk and (not view or dropout > 0))):
            outputs.append(checkpoint(_tile, *arguments, use_reentrant=False))
        else:
            outputs.append(_tile(*arguments))
    return torch.cat(outputs, dim=2).flip(2)


def attend_whole(
    q: Tensor, k: Tensor, v: Tensor, torus: Torus, *, padding: Tensor | None = None, mask: Tensor | None = None
) -> Tensor:
    """As `attend_tiles`, all queries at once, with a bias of (D, Tq, Tk D): for an exported program, which is one for all lengths.

    How many tiles there are depends on the length.
    """
    Tq, Tk, D = q.shape[2], k.shape[2], q.shape[3]
    if torus.plain and padding is None and mask is None and Tq == Tk:
        return attend_plain(q, k, v, causal=torus.causal, dropout=0.0)
    offset = Tk - Tq
    dtype = torch.promote_types(q.dtype, torch.float32) if q.device.type == "cpu" else q.dtype
    table = torus.bias(1 - Tk, Tk - 1, q.device, dtype)  # (D, 2 Tk - 1, D)
    query, key = torch.arange(offset, Tk, device=q.device), torch.arange(Tk, device=q.device)
    bias = table[:, key - query[:, None] + Tk - 1].flatten(2)  # (D, Tq, Tk D)
    allowed = _allowed(padding, mask, offset, Tk, offset, [(0, Tk)], D, q.device)
    if allowed is not None:
        allowed = allowed.flip(2)  # it comes with the last query first
    keys, values = k.flatten(2, 3), v.flatten(2, 3)
    outputs = []
    for platter in range(D):
        rows = bias[platter] if allowed is None else torch.where(allowed, bias[platter], -math.inf)
        outputs.append(F.scaled_dot_product_attention(q[:, :, :, platter], keys, values, attn_mask=rows))
    return torch.stack(outputs, dim=3)


class LagTable(NamedTuple):
    """The bias by lag, (D, lags, D) from `lowest` on: one for all tiles."""

    values: Tensor
    lowest: int

    @classmethod
    def of(
        cls,
        torus: Torus,
        starts: Sequence[int],
        stops: Sequence[int],
        seen: Sequence[list[tuple[int, int]]],
        like: Tensor,
    ) -> LagTable:
        """As far as chunks of queries from `starts` to before `stops` need it, whose keys lie in the ranges `seen`.

        Device of `like`; its dtype on a GPU, whose kernels want that, else float32 or wider.
        """
        lowest = min(ranges[0][0] - stop + 1 for stop, ranges in zip(stops, seen, strict=True))
        highest = max(ranges[-1][1] - 1 - start for start, ranges in zip(starts, seen, strict=True))
        dtype = torch.promote_types(like.dtype, torch.float32) if like.device.type == "cpu" else like.dtype
        return cls(torus.bias(lowest, highest, like.device, dtype), lowest)

    def bias(self, start: int, stop: int, first: int, last: int) -> Tensor:
        """Bias (D, stop - start, (last - first) D) of keys `first` to `last` for queries `stop - 1` down to `start`: a view."""
        D = self.values.shape[-1]
        part = self.values[:, first - stop + 1 - self.lowest : last - start - self.lowest]
        return part.flatten(1).unfold(1, (last - first) * D, D)


def _tile(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    table: LagTable,
    start: int,
    stop: int,
    offset: int,
    ranges: list[tuple[int, int]],
    hidden: tuple[Tensor | None, Tensor | None],
    dropout: float,
) -> Tensor:
    """Attention of one chunk: q (B, H, c, D, p) backwards, k and v (B, H, K D, p); hidden: padding and mask of the batch."""
    D = q.shape[3]
    parts = [table.bias(start, stop, first, last) for first, last in ranges]
    bias = parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)  # (D, c, K D)
    if q.device.type != "cpu":
        bias = bias.contiguous()
    allowed = _allowed(*hidden, start, stop, offset, ranges, D, q.device)
    if allowed is None and bias.numel() <= WRITTEN_OUT and q.device.type == "cpu":
        rows = bias.transpose(0, 1).flatten(0, 1)  # (c D, K D)
        return F.scaled_dot_product_attention(q.flatten(2, 3), k, v, attn_mask=rows, dropout_p=dropout).view(q.shape)
    outputs = []
    for platter in range(D):
        rows = bias[platter]
        if allowed is not None:
            rows = torch.where(allowed, rows, -math.inf)  # (B, 1, c, K D)
        outputs.append(F.scaled_dot_product_attention(q[:, :, :, platter], k, v, attn_mask=rows, dropout_p=dropout))
    return torch.stack(outputs, dim=3)


def _reader(x: Tensor, torus: Torus, chunk: int) -> Callable[[list[tuple[int, int]]], Tensor]:
    """What gives the tokens of x (B, H, T D, p) in a list of ranges of positions.

    Without a window a slice is a view, and so costs no memory. Each slice's gradient is as large as x, though: with a window,
    where slices are short and many, they are put together from blocks whose gradients are short as well.
    """
    D = torus.depth
    if torus.window is None:
        return lambda ranges: x[:, :, ranges[0][0] * D : ranges[0][1] * D]
    blocks = torch.split(x, chunk * D, dim=2)

    def read(ranges: list[tuple[int, int]]) -> Tensor:
        parts = []
        for first, last in ranges:
            for index in range(first // chunk, -(-last // chunk)):
                start = index * chunk
                parts.append(blocks[index][:, :, max(first - start, 0) * D : (last - start) * D])
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)

    return read


def _allowed(
    padding: Tensor | None,
    mask: Tensor | None,
    start: int,
    stop: int,
    offset: int,
    ranges: list[tuple[int, int]],
    depth: int,
    device: torch.device,
) -> Tensor | None:
    """What `padding` (B, Tk) and `mask` (B, Tq, Tk) leave to the queries of a chunk, backwards: bool (B, 1, c, K D).

    None where there is neither.
    """
    if padding is None and mask is None:
        return None
    rows = torch.arange(stop - 1, start - 1, -1, device=device)
    columns = torch.cat([torch.arange(first, last, device=device) for first, last in ranges])
    allowed = torch.ones(1, len(rows), len(columns), dtype=torch.bool, device=device)
    if padding is not None:
        allowed = allowed & ~padding[:, None, columns]
    if mask is not None:
        allowed = allowed & mask[:, rows - offset][:, :, columns]
    return (allowed | (rows[:, None] == columns))[:, None].repeat_interleave(depth, dim=-1)
