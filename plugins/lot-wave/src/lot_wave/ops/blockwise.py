"""Attention whose weights are elementwise in T x T scores: in blocks of queries, each recomputed in backward."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from lot.nn import attention_mask

BLOCK = 128
"""Queries of a block; a block's T x 128 weights are all that exists at once."""

Weigh = Callable[..., Tensor]
"""(query features of a block..., key features...) -> weights (B, H, c, Tk), each >= 0."""


def blockwise_attention(
    weigh: Weigh,
    query: tuple[Tensor, ...],
    key: tuple[Tensor, ...],
    v: Tensor,
    *,
    causal: bool,
    padding: Tensor | None = None,
    dropout: float = 0.0,
    divide_by_row: float | None = None,
) -> Tensor:
    """Weighted values (B, H, Tq, d) in the dtype of v (B, H, Tk, d); queries are the last Tq of the Tk positions.

    query, key: tensors (B, H, T, .) that `weigh` takes, block by block. divide_by_row: None to use the weights as they
    are, or an epsilon, to divide them by their row sum plus that. padding: (B, Tk) bool, as in
    `lot.nn.attention_mask`.
    """
    q_len, k_len = query[0].shape[-2], v.shape[-2]

    run = functools.partial(_block, weigh, len(query), divide_by_row, dropout)
    if torch.compiler.is_exporting():
        # How many blocks there are depends on T; an exported program is for every T, and so has one.
        return run(v, attention_mask(q_len, k_len, causal, padding, v.device), *query, *key).to(v.dtype)
    out = []
    for start in range(0, q_len, BLOCK):
        stop = min(start + BLOCK, q_len)
        end = k_len - q_len + stop if causal else k_len
        hidden = None if padding is None else padding[:, :end]
        if causal:
            allowed = attention_mask(stop - start, end, True, hidden, v.device)
        else:
            everything = attention_mask(q_len, k_len, False, hidden, v.device)
            allowed = None if everything is None else everything[..., start:stop, :]
        parts = [part[..., start:stop, :] for part in query] + [part[..., :end, :] for part in key]
        values = v[..., :end, :]
        if torch.is_grad_enabled() and any(part.requires_grad for part in (v, *parts)):
            out.append(checkpoint(run, values, allowed, *parts, use_reentrant=False))
        else:
            out.append(run(values, allowed, *parts))
    return torch.cat(out, dim=-2).to(v.dtype)


def _block(
    weigh: Weigh, n: int, divide_by_row: float | None, dropout: float, v: Tensor, allowed: Tensor | None, *parts: Tensor
) -> Tensor:
    """One block of queries; the first n `parts` are theirs, the others belong to the keys."""
    weight = weigh(*parts[:n], *parts[n:])
    if allowed is not None:
        weight = weight.masked_fill(~allowed, 0.0)
    y = (F.dropout(weight, dropout) if dropout > 0 else weight) @ v.to(weight.dtype)
    return y if divide_by_row is None else y / (weight.sum(-1, keepdim=True) + divide_by_row)
