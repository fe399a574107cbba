"""Softmax of a product of features on torch's fused attention."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor

from lot.nn import FEATURE_MULTIPLE, attend


def softmax_of_product(
    query: Tensor,
    key: Tensor,
    v: Tensor,
    *,
    scale: float,
    causal: bool,
    padding: Tensor | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """softmax(scale query . key) v, (B, H, Tq, d) in the dtype of v (B, H, Tk, d); features (B, H, T, F)."""
    d = v.shape[-1]
    # Fused kernels want queries, keys and values of one width.
    width = -(-max(d, query.shape[-1]) // FEATURE_MULTIPLE) * FEATURE_MULTIPLE
    query = query * (scale * math.sqrt(width))  # `attend` divides by sqrt(width)
    query, key, v = (F.pad(part.to(v.dtype), (0, width - part.shape[-1])) for part in (query, key, v))
    return attend(query, key, v, causal=causal, padding=padding, dropout=dropout)[..., :d]
