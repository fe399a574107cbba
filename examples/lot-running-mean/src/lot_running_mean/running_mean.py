"""Attention whose weights depend on the distance of two tokens, and on nothing else."""

from __future__ import annotations

import torch
from lot import Attention, Context, Dims
from torch import Tensor, nn

from lot_running_mean.config import RunningMeanConfig


class RunningMean(Attention):
    """y_t = out(mean of value(x_s) over s <= t), with weights decay^(t - s) in the mean."""

    def __init__(self, config: RunningMeanConfig, dims: Dims) -> None:
        super().__init__()
        self.causal, self.decay = True, config.decay
        self.value = nn.Linear(dims.width, dims.width)
        self.out = nn.Linear(dims.width, dims.width)

    def forward(self, x: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        """y (B, T, D) of x (B, T, D); no signals."""
        wide = torch.promote_types(x.dtype, torch.float32)  # weights in bfloat16 would not sum to 1
        position = torch.arange(x.shape[1], device=x.device, dtype=wide)  # (T,)
        lag = position[:, None] - position  # (T, T)
        weights = torch.where(lag >= 0, self.decay ** lag.clamp(min=0), 0.0)
        weights = weights / weights.sum(-1, keepdim=True)  # rows sum to 1
        return self.out(weights.to(x.dtype) @ self.value(x)), {}
