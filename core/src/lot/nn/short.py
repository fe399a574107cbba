"""Softmax attention over a short sequence, a few sequences of a batch at a time.

Fused kernels want queries, keys and values of one width, so that features of the score widen all three. Over few tokens
it takes less to make the weights: queries and keys are then as wide as they are, and values stay as they were.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

AT_A_TIME = 1 << 17
"""Weights that are worked on at a time, so that they stay in the cache of a processor: 512 KiB in float32."""


def short_attention(q: Tensor, k: Tensor, v: Tensor, *, scale: float, causal: bool) -> Tensor:
    """softmax(scale q k^T) v: (B, H, T, d) of q and k (B, H, T, e) and v (B, H, T, d). Differentiable once.

    T weights a token and head are kept for backward.
    """
    T = q.shape[-2]
    mask = q.new_full((T, T), -torch.inf).triu_(1) if causal else q.new_zeros(T, T)
    y: Tensor = _ShortAttention.apply(  # type: ignore[no-untyped-call]
        q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1), mask, scale
    )
    return y.view(v.shape)


class _ShortAttention(torch.autograd.Function):
    """q and k (N, T, e), v (N, T, d); mask (T, T), which is added to scores."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor, scale: float) -> Tensor:
        y, weights = torch.empty_like(v), q.new_empty(*q.shape[:2], k.shape[1])
        for rows in _blocks(weights):
            scores = torch.baddbmm(mask, q[rows], k[rows].mT, alpha=scale)
            torch.softmax(scores, -1, out=weights[rows])
            torch.bmm(weights[rows], v[rows], out=y[rows])
        ctx.save_for_backward(q, k, v, weights)
        ctx.scale = scale
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, weights = ctx.saved_tensors
        grad = grad.contiguous()
        of_q, of_k, of_v = torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)
        for rows in _blocks(weights):
            torch.bmm(weights[rows].mT, grad[rows], out=of_v[rows])
            of_weights = torch.bmm(grad[rows], v[rows].mT)
            of_scores = torch._softmax_backward_data(of_weights, weights[rows], -1, weights.dtype)
            torch.bmm(of_scores, k[rows], out=of_q[rows])
            torch.bmm(of_scores.mT, q[rows], out=of_k[rows])
        return of_q.mul_(ctx.scale), of_k.mul_(ctx.scale), of_v, None, None


def _blocks(weights: Tensor) -> Iterator[slice]:
    """Rows of weights (N, T, T) that are worked on at a time."""
    N, T, _ = weights.shape
    n = max(1, AT_A_TIME // T**2)
    return (slice(first, first + n) for first in range(0, N, n))
