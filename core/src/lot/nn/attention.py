"""Attention whose score has a term of the mechanism, on torch's fused kernels.

A mechanism gives its term as features of queries and keys, so that nothing of size T x T is stored.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lot.contracts import Dims
from lot.nn.short import short_attention

FEATURE_MULTIPLE = 8
"""Head widths are padded to a multiple of this: what fused attention kernels want."""
SHORT = 64
"""Tokens up to which attention with features makes its weights (benchmarks/mechanisms.py)."""


def attention_mask(q_len: int, k_len: int, causal: bool, padding: Tensor | None, device: torch.device) -> Tensor | None:
    """Mask (bool), True where a query may attend, broadcastable to (B, H, Tq, Tk); None for no limit.

    Queries are the last `q_len` of `k_len` positions. padding: (B, Tk), True where a key is padding. A query always
    sees itself, so that a row of nothing but padding gives no NaN.
    """
    if padding is None and (not causal or q_len == 1):
        return None
    rows = torch.arange(k_len - q_len, k_len, device=device)[:, None]
    columns = torch.arange(k_len, device=device)[None, :]
    allowed = columns <= rows if causal else torch.ones(q_len, k_len, dtype=torch.bool, device=device)
    if padding is not None:
        allowed = allowed & ~padding[:, None, None, :] | (columns == rows)
    return allowed


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    causal: bool,
    padding: Tensor | None = None,
    dropout: float = 0.0,
    query_features: Tensor | None = None,
    key_features: Tensor | None = None,
) -> Tensor:
    """softmax(q k^T / sqrt(d) + query_features key_features^T) v on fused attention; nothing of size T x T is stored.

    q (B, H, Tq, d), k and v (B, H, Tk, d), queries being the last Tq positions; features (B, H, T, e) or None, in
    the units of the score (they are not divided by sqrt(d)). Returns (B, H, Tq, d) in the dtype of v.

    The features become extra channels, with the scale of the true head width. All three of q, k and v are
    padded to one width, a multiple of 8, since fused kernels on CPU need equal widths. Under bfloat16 the spare
    channels carry the rounding error of the features (a high and a low part), which keeps a score bias accurate.

    With features, up to SHORT tokens on a CPU have a form of their own (`lot.nn.short`), which keeps T weights a token
    and head for backward and widens nothing. Without them fused attention is as fast there.
    """
    if (query_features is None) != (key_features is None):
        raise ValueError("query_features and key_features go together; one of them is None")
    d = q.shape[-1]
    scale = 1.0 / math.sqrt(d)
    if query_features is not None and key_features is not None:
        fq, fk = _feature_channels(query_features / scale, key_features, q.dtype)
        if _is_short(q, k) and padding is None and dropout == 0.0:
            return short_attention(torch.cat((q, fq), -1), torch.cat((k, fk), -1), v, scale=scale, causal=causal)
        extra = -(-(d + fq.shape[-1]) // FEATURE_MULTIPLE) * FEATURE_MULTIPLE - d
        q = torch.cat((q, F.pad(fq, (0, extra - fq.shape[-1]))), dim=-1)
        k = torch.cat((k, F.pad(fk, (0, extra - fk.shape[-1]))), dim=-1)
        v = F.pad(v, (0, extra))
    q_len, k_len = q.shape[-2], k.shape[-2]
    plain = padding is None and (not causal or q_len == k_len)
    mask = None if plain else attention_mask(q_len, k_len, causal, padding, q.device)
    y = F.scaled_dot_product_attention(
        q, k, v, attn_mask=mask, is_causal=bool(plain and causal), dropout_p=dropout, scale=scale
    )
    return y[..., :d]


def _is_short(q: Tensor, k: Tensor) -> bool:
    """Whether weights cost less than wider channels. A program for every length has no such question in it."""
    if torch.compiler.is_compiling() or q.device.type != "cpu" or q.dtype not in (torch.float32, torch.float64):
        return False
    return q.shape[-2] == k.shape[-2] <= SHORT


def _feature_channels(fq: Tensor, fk: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Feature channels in `dtype`; in a 16-bit type three products of high and low parts stand for each feature."""
    if torch.finfo(dtype).bits >= 32:
        return fq.to(dtype), fk.to(dtype)
    q_high, k_high = fq.to(dtype), fk.to(dtype)
    q_low, k_low = (fq - q_high.to(fq.dtype)).to(dtype), (fk - k_high.to(fk.dtype)).to(dtype)
    return torch.cat((q_high, q_low, q_high), dim=-1), torch.cat((k_high, k_high, k_low), dim=-1)


def attention_weights(
    q: Tensor,
    k: Tensor,
    *,
    causal: bool,
    padding: Tensor | None = None,
    query_features: Tensor | None = None,
    key_features: Tensor | None = None,
) -> Tensor:
    """The weights (B, H, Tq, Tk) that `attend` applies, in float32 or wider: for the `attention` signal and as reference."""
    wide = torch.promote_types(q.dtype, torch.float32)
    score = (q.to(wide) @ k.to(wide).transpose(-1, -2)) / math.sqrt(q.shape[-1])
    if query_features is not None and key_features is not None:
        score = score + query_features.to(wide) @ key_features.to(wide).transpose(-1, -2)
    mask = attention_mask(q.shape[-2], k.shape[-2], causal, padding, q.device)
    if mask is not None:
        score = score.masked_fill(~mask, float("-inf"))
    return score.softmax(-1)


def dropout_now(module: nn.Module, dims: Dims) -> float:
    """The probability of dropping attention weights: that of `dims` while training, else 0."""
    return dims.dropout if module.training else 0.0
