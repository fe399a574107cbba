"""The mean one token at a time: slow, and plainly what the formula says."""

from __future__ import annotations

import torch
from torch import Tensor


def mean_one_by_one(value: Tensor, decay: float) -> Tensor:
    """Means (B, T, D) of value (B, T, D): at each token, the sum so far and the weight so far decay and grow by one."""
    total, weight, means = torch.zeros_like(value[:, 0]), 0.0, []
    for t in range(value.shape[1]):
        total, weight = decay * total + value[:, t], decay * weight + 1.0
        means.append(total / weight)
    return torch.stack(means, dim=1)
