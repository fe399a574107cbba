"""Means over tokens at one position, which counts from the start of the sequence that the model sees."""

from __future__ import annotations

import torch
from torch import Tensor

from lot.contracts import Context
from lot.nn.documents import with_documents


def mean_by_position(values: Tensor, ctx: Context) -> Tensor:
    """Means (..., T) of values (B, ..., T) over the sequences of a batch, at each position.

    Where documents share rows, each is a sequence that begins at position 0; NaN from the length of the longest one on.
    """
    ctx = with_documents(ctx)
    if ctx.segments is None:
        return values.mean(0)
    assert ctx.positions is not None, "documents have positions of their own"
    T, there = values.shape[-1], (ctx.segments >= 0).flatten()
    place = ctx.positions.flatten()[there]
    tokens = values.movedim(-1, 1).flatten(0, 1)[there]  # (tokens, ...)
    sums = tokens.new_zeros(T, *tokens.shape[1:]).index_add(0, place, tokens)
    counts = torch.bincount(place, minlength=T).view(-1, *[1] * (tokens.dim() - 1))
    return (sums / counts).movedim(0, -1)
