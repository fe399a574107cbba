"""Attention that says that it heeds documents which share a row."""

from __future__ import annotations

import torch
from torch import Tensor

from kit_specimens.leaks import Honest
from lot.contracts import Context


class Masks(Honest):
    """Vanilla attention with a mask of its own, as it should be."""

    segments = True

    def forward(self, x: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        if ctx.documents is None:
            return super().forward(x, ctx)
        q, k, v = self.heads.split(x, 0, ctx.positions)
        assert ctx.segments is not None
        T = x.shape[1]
        same = ctx.segments[:, :, None] == ctx.segments[:, None]
        allowed = torch.ones(T, T, dtype=torch.bool, device=x.device).tril() & same
        y = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=allowed[:, None])
        return self.heads.merge(y) + self.between(x), {}

    def between(self, x: Tensor) -> Tensor:
        """What comes from the token before, whatever its document; here nothing."""
        return x.new_zeros(())


class SeesBack(Masks):
    """The values are right, the gradients are not."""

    def between(self, x: Tensor) -> Tensor:
        before = x.roll(1, 1)
        return 0.1 * (before - before.detach())


class GoesOn(Honest):
    """Attends across documents."""

    segments = True


class CountsOn(Masks):
    """Begins anew, but for a number that counts the tokens of the row."""

    def between(self, x: Tensor) -> Tensor:
        return 0.1 * torch.arange(x.shape[1], device=x.device, dtype=x.dtype)[:, None].expand_as(x)


class Remembers(Honest):
    """Adds how often it was called."""

    calls = 0

    def forward(self, x: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        self.calls += 1
        y, signals = super().forward(x, ctx)
        return y + 0.1 * self.calls, signals
