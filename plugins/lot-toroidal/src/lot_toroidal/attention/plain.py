"""Projections that the torus turns by itself, and that also give what vanilla attention has: for the neutral form."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from lot import Dims
from lot.nn import Projections, Rotary


class PlainHeads(Projections):
    """Queries, keys and values (B, H, T, d) that are not turned, or, by `plain`, turned as the trunk asks."""

    def __init__(self, dims: Dims) -> None:
        # The trunk's rotary encoding would turn the same channels a second time: the torus has its own.
        super().__init__(replace(dims, positions="none"))
        turned = dims.positions == "rotary"
        rotary = Rotary(dims.head_width, dims.max_len, dims.rope_base, dims.rotary_fraction) if turned else None
        self.trunk_rotary = rotary

    def plain(self, x: Tensor, start: int = 0, positions: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """x (B, T, D) -> q, k, v (B, H, T, d) of vanilla attention; `start` is the position of the first token.

        positions: (B, T), as for `split`.
        """
        q, k, v = self.split(x)
        if self.trunk_rotary is not None:
            q, k = self.trunk_rotary(q, start, positions), self.trunk_rotary(k, start, positions)
        return q, k, v
