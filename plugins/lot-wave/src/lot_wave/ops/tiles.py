"""The tiles of pairwise interference, and what the tiles of a row share.

A tile is a block of queries against a block of keys. With m the time of the middle of each block and s = t - m, the angle
is a product of two rank-4 factors,

    angle_w = [f_q (t_q - m_k) + p_q] - [f_k (m_q - t_k) + p_k] - f_q s_k - f_k s_q

whose two brackets belong to one token each: they are formed and wrapped in float64, for all tiles of a block of queries
at once, which costs next to nothing and makes tiles more accurate than the formula evaluated in float32.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from lot_wave.ops.waves import positions, turn

TILE = {"cpu": 64, "cuda": 128}
"""Queries, and keys, of a tile: the smaller, the less of it lies in the future; the larger, the fewer calls."""
TINY = 1e-18
"""Least amplitude in products, which are divided by it again: its square is far below what float32 adds to anything."""
ELEMENTS = {"cpu": 1 << 18, "cuda": 1 << 25}
"""Angles evaluated at once: about the second-level cache of a core, or enough work to fill a GPU (128 MB a buffer)."""


class Tile(NamedTuple):
    """Rows n of the batch, query columns q and key columns k; `number` counts tiles, `column` those of a block."""

    number: int
    column: int
    n: slice
    q: slice
    k: slice


class Row(NamedTuple):
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
    """2 A_q, (n, W, c, 1), A_q being no smaller than TINY."""
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

    def angles(self, tile: Tile) -> Tensor:
        """(n, W, c, ck)."""
        return self.left[tile.column] @ self.right[..., tile.k]

    def interfere(self, tile: Tile, wave: Tensor) -> Tensor:
        """2 A_q A_k times cos or sin of the angle, `wave` (n, W, c, ck), which becomes the product."""
        return wave.mul_(self.pull).mul_(self.reach[..., tile.k])

    def intensity(self, tile: Tile, product: Tensor) -> Tensor:
        """I (n, c, ck) from 2 A_q A_k cos angle (n, W, c, ck)."""
        return product.sum(1).add_(self.energy_q).add_(self.energy_k[..., tile.k])

    def energy(self, tile: Tile) -> Tensor:
        """E (n, c, ck): the largest intensity that these amplitudes can give."""
        total = self.energy_q + self.energy_k[..., tile.k]
        return total.baddbmm_(self.q[:, 0].mT, self.k[:, 0, :, tile.k], alpha=2.0)


def row_of(q_waves: Tensor, k_waves: Tensor, block: list[Tile]) -> Row:
    """What the tiles of `block` share; q_waves (N, 3, W, Tq) and k_waves (N, 3, W, Tk), queries being the last Tq of Tk."""
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
    return Row(
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


def allowed_in(tile: Tile, offset: int, hidden: Tensor | None, causal: bool, device: torch.device) -> Tensor | None:
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


def tiles(q_waves: Tensor, k_waves: Tensor, causal: bool) -> Iterator[list[Tile]]:
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
                block.append(Tile(number, column, rows, slice(q, q_stop), slice(k, min(k + d, end))))
                number += 1
            yield block
