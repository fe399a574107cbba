"""Attention whose weight is a product of features, in O(T): (sum_k phi_q . phi_k v_k) / (sum_k phi_q . phi_k).

Katharopoulos et al., "Transformers are RNNs", 2020; in chunks as Hua et al., "Transformer Quality in Linear Time",
2022: within a chunk as matrix products, between chunks through a running state of size F x d, never one of size T x F x
d.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lot_wave.ops.positive_kernels import EPSILON
from lot_wave.ops.short import past, short_attention

CHUNK = 64
"""Tokens of a chunk: work and memory within chunks grow with it, those of the states shrink."""


def linear_attention(query: Tensor, key: Tensor, v: Tensor, *, causal: bool, padding: Tensor | None = None) -> Tensor:
    """Weighted values (B, H, T, d) in the dtype of v (B, H, T, d), from features query and key (B, H, T, F).

    padding: (B, T) bool; padded keys weigh nothing. A query that sees only padding gives 0. Sums run in the dtype of
    the features.
    """
    key = _hide(key, padding)
    if not causal:
        total = query @ (key.transpose(-1, -2) @ with_ones(v, key.dtype))
    elif torch.compiler.is_exporting() or query.shape[-2] <= CHUNK:
        # How many chunks there are depends on T; an exported program is for every T, and so has the quadratic form. It is
        # that of a single chunk too, before which there is nothing to add.
        return short_attention(query, key, v.to(key.dtype)).to(v.dtype)
    else:
        total, _ = causal_sums(query, key, with_ones(v, key.dtype), None)
    return divide(total).to(v.dtype)


def causal_sums(query: Tensor, key: Tensor, v: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
    """sum_{k <= q} phi_q . phi_k v_k (B, H, T, d), and the state after the last token, sum_k phi_k v_k^T (B, H, F, d).

    state: that of the tokens before, or None at the start of a sequence.
    """
    T = query.shape[-2]
    chunk = min(CHUNK, T)
    pad = -T % chunk
    if pad:
        query, key, v = (F.pad(part, (0, 0, 0, pad)) for part in (query, key, v))
    B, H = v.shape[:2]
    query, key, v = (part.reshape(B, H, -1, chunk, part.shape[-1]) for part in (query, key, v))  # (B, H, C, c, ...)
    added = key.transpose(-1, -2) @ v  # (B, H, C, F, d)
    start = added.new_zeros(added[:, :, :1].shape) if state is None else state[:, :, None]
    states = torch.cat((start, added), dim=2).cumsum(2)  # (B, H, C + 1, F, d); entry i is the sum before chunk i
    within = past(query @ key.transpose(-1, -2)) @ v
    total = within + query @ states[:, :, :-1]
    return total.flatten(2, 3)[:, :, :T], states[:, :, -1]


def divide(total: Tensor) -> Tensor:
    """The weighted values (..., d) from sums (..., d + 1) whose last channel is the sum of the weights."""
    return total[..., :-1] / (total[..., -1:] + EPSILON)


def with_ones(v: Tensor, dtype: torch.dtype) -> Tensor:
    """v (..., d) -> (..., d + 1) in `dtype`; the channel of ones collects the sum of the weights."""
    return F.pad(v.to(dtype), (0, 1), value=1.0)


def _hide(key: Tensor, padding: Tensor | None) -> Tensor:
    return key if padding is None else key.masked_fill(padding[:, None, :, None], 0.0)


@dataclass
class LinearState:
    """What decoding carries: sums (B, H, F, d + 1), one size whatever the number of tokens; None before the first."""

    sums: Tensor | None = None

    def extend(self, query: Tensor, key: Tensor, v: Tensor, padding: Tensor | None = None) -> Tensor:
        """Weighted values (B, H, n, d) of the next n tokens, whose keys join the state."""
        total, self.sums = causal_sums(query, _hide(key, padding), with_ones(v, key.dtype), self.sums)
        return divide(total).to(v.dtype)
