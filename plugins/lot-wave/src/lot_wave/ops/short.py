"""Causal attention by products of features over one chunk of tokens, a few sequences at a time.

What is done to the weights of a few sequences finds them in the cache of a processor; those of a whole batch do not fit.
They are kept for backward, T numbers a token and head, since they cost more to make than to read.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lot_wave.ops.positive_kernels import EPSILON

WEIGHTS = 1 << 17
"""Weights that are worked on at a time on a CPU: 512 KiB in float32."""


def short_attention(query: Tensor, key: Tensor, v: Tensor) -> Tensor:
    """Weighted values (B, H, T, d) of features query and key (B, H, T, F) and v (B, H, T, d), all of one dtype.

    Row by row (sum_k phi_q . phi_k v_k) / (sum_k phi_q . phi_k + epsilon), over the keys k up to the query q.
    """
    if torch.compiler.is_compiling():  # a program for every T and B, which makes loops of its own
        weights = past(query @ key.transpose(-1, -2))
        return weights @ v / (weights.sum(-1, keepdim=True) + EPSILON)
    # Made dense once where queries are keys.
    fq = query.flatten(0, 1)
    fk = fq if key is query else key.flatten(0, 1)
    y: Tensor = _ShortAttention.apply(fq, fk, v.flatten(0, 1))
    return y.view(v.shape)


def past(weights: Tensor) -> Tensor:
    """weights (..., T, T) without those of later keys, in place."""
    return weights.mul_(_triangle(weights))


def _triangle(like: Tensor) -> Tensor:
    """1 where a key comes no later than the query, else 0, (T, T): a product with it is faster than torch's `tril`."""
    T = like.shape[-2]
    return torch.ones(T, T, dtype=like.dtype, device=like.device).tril_()


class _ShortAttention(torch.autograd.Function):
    """query and key (N, T, F), v (N, T, d)."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, v: Tensor) -> Tensor:
        triangle = _triangle(query)
        y, total = torch.empty_like(v), query.new_empty(*query.shape[:2], 1)
        weights = query.new_empty(*query.shape[:2], query.shape[1])
        for rows in _blocks(weights):
            torch.bmm(query[rows], key[rows].mT, out=weights[rows]).mul_(triangle)
            torch.sum(weights[rows], -1, keepdim=True, out=total[rows])
            torch.bmm(weights[rows], v[rows], out=y[rows])
        y.div_(total.add_(EPSILON))
        ctx.save_for_backward(query, key, v, y, total, weights)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, key, v, y, total, weights = ctx.saved_tensors
        triangle = _triangle(query)
        grad = grad / total
        of_total = -(grad * y).sum(-1, keepdim=True)
        of_query, of_key, of_v = torch.empty_like(query), torch.empty_like(key), torch.empty_like(v)
        for rows in _blocks(weights):
            torch.bmm(weights[rows].mT, grad[rows], out=of_v[rows])
            of_weights = torch.bmm(grad[rows], v[rows].mT).add_(of_total[rows]).mul_(triangle)
            torch.bmm(of_weights, key[rows], out=of_query[rows])
            torch.bmm(of_weights.mT, query[rows], out=of_key[rows])
        return of_query, of_key, of_v


def _blocks(weights: Tensor) -> Iterator[slice]:
    """Rows of weights (N, T, T) that are worked on at a time; on a GPU all."""
    N, T, _ = weights.shape
    n = max(1, WEIGHTS // T**2) if weights.device.type == "cpu" else N
    return (slice(first, first + n) for first in range(0, N, n))
