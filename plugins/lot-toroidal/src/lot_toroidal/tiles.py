"""Toroidal attention on torch's fused kernels, a chunk of queries at a time: linear memory on every device.

The bias depends on the lag only, so the bias of a whole chunk is a strided view of one short table: row r of the view is
the table from r lags further on. Queries run backwards in a chunk because torch has no negative strides.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from lot_toroidal.geometry import Torus

SHORTEST, LONGEST = 32, 256
"""Positions of a chunk of queries, unless it is given."""


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

    chunk: None for an eighth of them, `SHORTEST` to `LONGEST`: short ones waste less under a causal mask, long ones take
    fewer calls.
    A tile whose bias had to be written out (a mask that differs by example, a window over the seam, a device that wants
    aligned rows) is recomputed in backward, as `recompute` asks for all: nothing of size T x T outlives its tile.
    """
    offset, Tk = k.shape[2] - q.shape[2], k.shape[2]
    chunk = min(max(q.shape[2] // 8, SHORTEST), LONGEST) if chunk is None else chunk
    backward = q.flip(2)
    read_k, read_v = (_reader(x, torus, chunk) for x in (k, v))
    outputs = []
    for stop in range(Tk, offset, -chunk):
        start = max(offset, stop - chunk)
        ranges = torus.key_ranges(start, stop - 1, Tk)
        view = len(ranges) == 1 and padding is None and mask is None and q.device.type == "cpu"
        allowed = None
        if padding is not None or mask is not None:
            allowed = _allowed(padding, mask, start, stop, offset, ranges, torus.depth, q.device)
        queries = backward[:, :, Tk - stop : Tk - start]
        keys, values = read_k(ranges), read_v(ranges)
        arguments = (queries, keys, values, torus, start, stop, ranges, allowed, dropout)
        chunks = Tk - offset > chunk
        if torch.is_grad_enabled() and (recompute or (chunks and (not view or dropout > 0))):
            outputs.append(checkpoint(_tile, *arguments, use_reentrant=False))
        else:
            outputs.append(_tile(*arguments))
    return torch.cat(outputs, dim=2).flip(2)


def tile_bias(torus: Torus, start: int, stop: int, first: int, last: int, like: Tensor) -> Tensor:
    """Bias (D, stop - start, (last - first) D) of keys `first` to `last` for queries `stop - 1` down to `start`.

    A view: memory O((queries + keys) D^2). Device and dtype of `like`.
    """
    table = torus.bias(first - (stop - 1), last - 1 - start, like.device, like.dtype)
    return table.flatten(1).unfold(1, (last - first) * torus.depth, torus.depth)


def _tile(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    torus: Torus,
    start: int,
    stop: int,
    ranges: list[tuple[int, int]],
    allowed: Tensor | None,
    dropout: float,
) -> Tensor:
    """Attention of one chunk: q (B, H, c, D, p) backwards, k and v (B, H, K, D, p)."""
    k, v = k.flatten(2, 3), v.flatten(2, 3)
    parts = [tile_bias(torus, start, stop, first, last, q) for first, last in ranges]
    bias = parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)  # (D, c, K D)
    if q.device.type != "cpu":
        bias = bias.contiguous()
    outputs = []
    for platter in range(torus.depth):
        rows = bias[platter]
        if allowed is not None:
            rows = torch.where(allowed, rows, -math.inf)  # (B, 1, c, K D)
        outputs.append(F.scaled_dot_product_attention(q[:, :, :, platter], k, v, attn_mask=rows, dropout_p=dropout))
    return torch.stack(outputs, dim=3)


def _reader(x: Tensor, torus: Torus, chunk: int) -> Callable[[list[tuple[int, int]]], Tensor]:
    """What gives the positions of x (B, H, T, D, p) in a list of ranges.

    Without a window a slice is a view, and so costs no memory. Each slice's gradient is as large as x, though: with a window,
    where slices are short and many, they are put together from blocks whose gradients are short as well.
    """
    if torus.window is None:
        return lambda ranges: x[:, :, ranges[0][0] : ranges[0][1]]
    blocks = torch.split(x, chunk, dim=2)

    def read(ranges: list[tuple[int, int]]) -> Tensor:
        parts = []
        for first, last in ranges:
            for index in range(first // chunk, -(-last // chunk)):
                start = index * chunk
                parts.append(blocks[index][:, :, max(first - start, 0) : last - start])
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
) -> Tensor:
    """What `padding` (B, Tk) and `mask` (B, Tq, Tk) leave to the queries of a chunk, backwards: bool (B, 1, c, K D)."""
    rows = torch.arange(stop - 1, start - 1, -1, device=device)
    columns = torch.cat([torch.arange(first, last, device=device) for first, last in ranges])
    allowed = torch.ones(1, len(rows), len(columns), dtype=torch.bool, device=device)
    if padding is not None:
        allowed = allowed & ~padding[:, None, columns]
    if mask is not None:
        allowed = allowed & mask[:, rows - offset][:, :, columns]
    return (allowed | (rows[:, None] == columns))[:, None].repeat_interleave(depth, dim=-1)
