"""What losses and diagnostics read from a pass: the phases of each layer, and how synchronized they are."""

from __future__ import annotations

import torch
from torch import Tensor

from lot import Output
from lot.circular import order_parameter


def by_layer(output: Output, name: str) -> dict[int, Tensor]:
    """The signal `name` of every layer that emitted it, in order of depth."""
    return dict(sorted(output.signals[name].items()))


def population(theta: Tensor) -> int:
    """How many oscillators R is taken over: H of a lattice's (B, H, T), O of a phase attention's (B, H, T, O)."""
    return theta.shape[1] if theta.dim() == 3 else theta.shape[-1]


def order(theta: Tensor) -> Tensor:
    """R at each token: of theta (B, H, T) over heads, (B, T); of (B, H, T, O) over oscillators, (B, H, T)."""
    return order_parameter(theta, dim=1 if theta.dim() == 3 else -1)


def order_over_tokens(theta: Tensor) -> Tensor:
    """R over the tokens of each sequence: (B, H) or (B, H, O). Near 1 the phase no longer tells tokens apart."""
    return order_parameter(theta, dim=2)


def order_over_documents(theta: Tensor, segments: Tensor) -> Tensor:
    """R over the tokens of each document, of which several share a row, weighted by its length: (H,) or (H, O).

    theta: (B, H, T) or (B, H, T, O). segments: (B, T) int64, the number of each token's document, -1 at padding.
    """
    there = segments.flatten() >= 0
    number = segments.flatten()[there]
    theta = (
        theta.to(torch.promote_types(theta.dtype, torch.float32)).movedim(2, 1).flatten(0, 1)[there]
    )  # (tokens, H, ...)
    empty = theta.new_zeros(int(number.max()) + 1, *theta.shape[1:])
    x, y = (empty.index_add(0, number, part) for part in (theta.cos(), theta.sin()))
    return torch.hypot(x, y).sum(0) / len(number)


def token_mean(values: Tensor, padding: Tensor | None) -> Tensor:
    """The mean of values (B, ..., T) over all tokens that are no padding: () tensor."""
    if padding is None:
        return values.mean()
    shape = (padding.shape[0], *(1 for _ in values.shape[1:-1]), padding.shape[1])
    kept = (~padding).view(shape).expand_as(values)
    return torch.where(kept, values, 0.0).sum() / kept.sum().clamp(min=1)
