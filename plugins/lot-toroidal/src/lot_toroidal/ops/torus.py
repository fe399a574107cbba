"""The torus: positions on a ring of `period` places, platters on a line, and the distance between any two of its tokens."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lot import BadInput


def circular_distance(lag: Tensor, period: int) -> Tensor:
    """min(|lag|, N - |lag|): steps between two positions the short way around. lag: integers, |lag| < period."""
    steps = lag.abs()
    return torch.minimum(steps, period - steps)


def toroidal_distance(i: Tensor, k: Tensor, j: Tensor, l: Tensor, period: int, depth: int) -> Tensor:  # noqa: E741
    """delta((i, k), (j, l)) = min(|i - j|, N - |i - j|) / N + |k - l| / D, a metric on the torus, float64.

    i, j: positions in [0, period); k, l: platters in [0, depth); integers of shapes that broadcast.
    """
    return circular_distance(i - j, period).double() / period + (k - l).abs().double() / depth


@dataclass(frozen=True)
class Torus:
    """What decides how a score is biased and what a query sees.

    period: N, positions on the ring. depth: D, platters. strength: lambda, units of the score per unit of distance.
    window: largest circular distance that is seen, or None. causal: a query at i sees positions j <= i only.

    In a program that is exported for all lengths, the ring of a sequence is a symbol and no int: it is not compared with the
    window, which would hold the program to the lengths that pass.
    """

    period: int
    depth: int
    strength: float = 0.0
    window: int | None = None
    causal: bool = True

    def __post_init__(self) -> None:
        if self.window is not None and isinstance(self.period, int) and 2 * self.window > self.period - 1:
            raise BadInput(
                where="window",
                expected=f"at most (period - 1) / 2 = {(self.period - 1) // 2} on a ring of {self.period}",
                got=self.window,
                fix="a wider one would meet itself; leave it out to see everything",
            )

    @property
    def plain(self) -> bool:
        """Whether scores are unbiased and at most a triangular mask hides anything: what fused kernels do by themselves."""
        return self.strength == 0 and self.window is None and (self.depth == 1 or not self.causal)

    def visible(self, lag: Tensor) -> Tensor:
        """Whether a query sees the key that lies `lag` = j - i positions after it; bool of the shape of `lag`."""
        earlier = lag <= 0 if self.causal else torch.ones_like(lag, dtype=torch.bool)
        return earlier if self.window is None else earlier & (circular_distance(lag, self.period) <= self.window)

    def bias(self, first: int, last: int, device: torch.device, dtype: torch.dtype) -> Tensor:
        """What is added to scores, by lag: (D, n, D) for query platter, lag = j - i from `first` to `last`, key platter.

        -lambda delta where the key is visible, else -inf. Everything else about the bias is a view of this table.
        """
        lag = torch.arange(first, last + 1, device=device)
        platter = torch.arange(self.depth, device=device)
        wide = torch.promote_types(dtype, torch.float32)
        ring = circular_distance(lag, self.period).to(wide) / self.period
        stack = (platter[:, None] - platter).abs().to(wide) / self.depth
        distance = ring[:, None] + stack[:, None]  # (D, n, D)
        return torch.where(self.visible(lag)[:, None], -self.strength * distance, -math.inf).to(dtype)

    def key_ranges(self, first: int, last: int, keys: int) -> list[tuple[int, int]]:
        """Half-open ranges of the positions, among `keys`, that any query at `first` to `last` (inclusive) may see.

        Sorted and disjoint; there are two where a window reaches over the seam of the ring.
        """
        end = min(keys, last + 1) if self.causal else keys
        if self.window is None:
            return [(0, end)]
        ranges = []
        for turn in (-self.period, 0, self.period):
            start, stop = first - self.window + turn, last + self.window + 1 + turn
            if max(start, 0) < min(stop, end):
                ranges.append((max(start, 0), min(stop, end)))
        merged: list[tuple[int, int]] = []
        for start, stop in sorted(ranges):
            if merged and start <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(stop, merged[-1][1]))
            else:
                merged.append((start, stop))
        return merged
