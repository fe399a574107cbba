"""Toroidal attention written out in full: slow, stores all (T D)^2 scores, and is what everything fast is compared with."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lot_toroidal.ops.torus import Torus, circular_distance, toroidal_distance


def dense_weights(
    q: Tensor, k: Tensor, torus: Torus, *, padding: Tensor | None = None, mask: Tensor | None = None
) -> Tensor:
    """softmax over all keys (j, l) of q k^T / sqrt(p) - lambda delta, float32 or wider: (B, H, Tq, D, Tk, D).

    q (B, H, Tq, D, p), k (B, H, Tk, D, p); queries are the last Tq of Tk positions. padding (B, Tk) bool, True where a key
    is padding. mask (B, Tq, Tk) bool, True where a query may look. A position always sees itself.
    """
    B, H, Tq, D, p = q.shape
    Tk = k.shape[2]
    wide = torch.promote_types(q.dtype, torch.float32)
    i = torch.arange(Tk - Tq, Tk, device=q.device).view(Tq, 1, 1, 1)
    j = torch.arange(Tk, device=q.device).view(1, 1, Tk, 1)
    platter = torch.arange(D, device=q.device)
    score = torch.einsum("bhikp,bhjlp->bhikjl", q.to(wide), k.to(wide)) / math.sqrt(p)
    delta = toroidal_distance(i, platter.view(1, D, 1, 1), j, platter, torus.period, torus.depth)  # (Tq, D, Tk, D)
    seen = torch.ones(B, Tq, Tk, dtype=torch.bool, device=q.device)
    if torus.causal:
        seen &= (j <= i)[:, 0, :, 0]
    if torus.window is not None:
        seen &= (circular_distance(i - j, torus.period) <= torus.window)[:, 0, :, 0]
    if padding is not None:
        seen &= ~padding[:, None, :]
    if mask is not None:
        seen &= mask
    seen |= (i == j)[:, 0, :, 0]
    score = score - torus.strength * delta.to(wide)
    score = score.masked_fill(~seen[:, None, :, None, :, None], -math.inf)
    return score.flatten(4).softmax(-1).view(B, H, Tq, D, Tk, D)


def dense_attention(
    q: Tensor, k: Tensor, v: Tensor, torus: Torus, *, padding: Tensor | None = None, mask: Tensor | None = None
) -> Tensor:
    """`dense_weights` applied to v (B, H, Tk, D, p): (B, H, Tq, D, p), in the dtype of v."""
    weights = dense_weights(q, k, torus, padding=padding, mask=mask)
    return torch.einsum("bhikjl,bhjlp->bhikp", weights, v.to(weights.dtype)).to(v.dtype)
