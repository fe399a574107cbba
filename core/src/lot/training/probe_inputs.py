"""What a probe feeds the model: the run's own batch, and a twin of it in which each sequence differs from its cut on."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lot.contracts import IGNORED, Batch


class Twins(NamedTuple):
    """A batch, and inputs that equal its own before the cuts.

    batch: as the run gives it. inputs: (B, T) int64, other tokens from the cut of each sequence on. cuts: (B,) int64 on
    the CPU, T where the sequence is not cut. kept: (B, T) bool, the positions whose logits must not change: those before
    the cut that are no padding.
    """

    batch: Batch
    inputs: Tensor
    cuts: Tensor
    kept: Tensor


class Cuts:
    """Where sequences of T tokens are cut: every place from 1 to T - 1 once, before any comes again.

    A leak from one position to the next shows only where a sequence is cut between the two. The places after which a
    target is scored come first: what leaks there is an answer.
    """

    def __init__(self, targets: Tensor, rng: np.random.Generator) -> None:
        """targets: (B, T) of a batch."""
        scored = (targets != IGNORED).any(0).cpu().numpy()
        places = rng.permutation(np.arange(1, max(len(scored), 2)))
        self._order = places[np.argsort(~scored[places - 1], kind="stable")]
        self._next = 0

    def take(self, count: int) -> np.ndarray:
        """The next `count` places (count,) int64."""
        taken = self._order[(self._next + np.arange(count)) % len(self._order)]
        self._next += count
        return np.asarray(taken, dtype=np.int64)

    @property
    def untried(self) -> int:
        """How many places were not taken yet."""
        return max(0, len(self._order) - self._next)

    def spared(self, rows: int) -> int:
        """How many of `rows` sequences can stay uncut, up to a quarter, without one more pass over all places for it."""
        passes = -(-(self.untried + 1) // rows)
        return 0 if rows < 2 else max(1, min(rows // 4, passes * rows - self.untried))


def twins(
    batch: Batch, vocab_size: int, cuts: Cuts | None, rng: np.random.Generator, *, uncut: int | None = None
) -> Twins:
    """`batch` and its twin, cut at the next of `cuts`; None: the task is not causal.

    uncut: sequences that are not cut, so that they show what reaches them from other members of the batch; None: a quarter
    (at least one, of two or more). Where the task is not causal, these are half, and the others are replaced as a whole.
    """
    B, T = batch.inputs.shape
    if uncut is None:
        uncut = 0 if B < 2 else max(1, B // 4 if cuts is not None else B // 2)
    at = np.full(B, T)
    at[rng.permutation(B)[uncut:]] = 0 if cuts is None else np.minimum(cuts.take(B - uncut), T)
    after = torch.from_numpy(np.arange(T) >= at[:, None]).to(batch.inputs.device)  # (B, T)
    shift = torch.from_numpy(rng.integers(1, max(vocab_size, 2), (B, T))).to(batch.inputs.device)
    changed = torch.where(after, (batch.inputs + shift) % vocab_size, batch.inputs)
    kept = ~after if batch.padding is None else ~after & ~batch.padding
    return Twins(batch, changed, torch.from_numpy(at), kept)


class Deviation(NamedTuple):
    """How far two tensors (B, T, N) lie apart where they must be equal.

    largest: the largest difference; infinite where one alone is not finite. scale: the largest value in either.
    sequence, position: where the largest difference is.
    """

    largest: float = 0.0
    scale: float = 0.0
    sequence: int = 0
    position: int = 0

    @property
    def relative(self) -> float:
        """The largest difference, relative to the largest value."""
        return self.largest / self.scale if self.scale else self.largest


CHUNK = 1 << 22
"""Numbers compared at once, so that a comparison of logits takes little memory beside them."""


def deviation(a: Tensor, b: Tensor, kept: Tensor) -> Deviation:
    """How far `a` and `b` (B, T, N) lie apart at the positions `kept` (B, T). What is not finite in both is equal."""
    rows = max(1, CHUNK // max(1, a[0].numel()))
    found = Deviation()
    for start in range(0, len(a), rows):
        part = slice(start, start + rows)
        x, y, mask = a[part].float(), b[part].float(), kept[part]
        if not bool(((x != y).any(-1) & mask).any()):  # most often, and four times as fast to tell
            largest = float(x.abs().amax(-1).masked_fill(~mask, 0.0).max())
            if largest < torch.inf:
                found = found._replace(scale=max(found.scale, largest))
                continue
        finite = x.isfinite() & y.isfinite()
        apart = torch.where(finite, (x - y).abs(), torch.where(x.isfinite() | y.isfinite(), torch.inf, 0.0))
        per_position = apart.amax(-1).masked_fill(~mask, 0.0)
        size = torch.where(finite, torch.maximum(x.abs(), y.abs()), 0.0).amax(-1).masked_fill(~mask, 0.0)
        largest, scale = float(per_position.max()), max(found.scale, float(size.max()))
        if largest > found.largest:
            where = divmod(int(per_position.argmax()), per_position.shape[1])
            found = Deviation(largest, scale, start + where[0], where[1])
        else:
            found = found._replace(scale=scale)
    return found
