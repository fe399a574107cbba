"""Queries, keys, values and output of multi-head attention, and rotary positions."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from lot.contracts import Dims, GeneratorFor
from lot.errors import BadInput


def require_heads(dims: Dims) -> None:
    """Raises BadInput unless the heads divide the width."""
    if dims.heads < 1 or dims.width % dims.heads:
        raise BadInput(where="model.heads", expected=f"a divisor of the width {dims.width}", got=dims.heads)


class Projections(nn.Module):
    """Queries, keys, values and output of multi-head attention, with rotary positions where `dims` asks for them."""

    def __init__(self, dims: Dims) -> None:
        super().__init__()
        require_heads(dims)
        self.dims = dims
        self.qkv = nn.Linear(dims.width, 3 * dims.width)
        self.out = nn.Linear(dims.width, dims.width)
        self.rotary = Rotary(dims.head_width, dims.max_len) if dims.positions == "rotary" else None

    def reset_parameters(self, generator_for: GeneratorFor) -> None:
        """GPT-2's values: N(0, 0.02), and the output, which adds to the residual stream, scaled by 1/sqrt(2L)."""
        nn.init.normal_(self.qkv.weight, std=0.02, generator=generator_for("qkv.weight"))
        std = 0.02 / math.sqrt(2 * self.dims.layers)
        nn.init.normal_(self.out.weight, std=std, generator=generator_for("out.weight"))
        nn.init.zeros_(self.qkv.bias)
        nn.init.zeros_(self.out.bias)

    def split(self, x: Tensor, start: int = 0) -> tuple[Tensor, Tensor, Tensor]:
        """x (B, T, D) -> q, k, v (B, H, T, d); `start` is the position of the first token."""
        B, T, _ = x.shape
        qkv = self.qkv(x).view(B, T, 3, self.dims.heads, self.dims.head_width)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # each (B, H, T, d)
        if self.rotary is not None:
            q, k = self.rotary(q, start), self.rotary(k, start)
        return q, k, v

    def merge(self, y: Tensor) -> Tensor:
        """y (B, H, T, d) -> (B, T, D) through the output projection."""
        return self.out(y.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class Rotary(nn.Module):
    """Rotary position embedding (Su et al., "RoFormer", 2021): pairs of channels turned by position x frequency."""

    cos: Tensor
    sin: Tensor

    def __init__(self, width: int, max_len: int, base: float = 10000.0) -> None:
        super().__init__()
        if width % 2:
            raise BadInput(
                where="model.positions",
                expected="an even head width for rotary positions",
                got=width,
                fix="change model.width or model.heads",
            )
        frequency = base ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
        angle = torch.outer(torch.arange(max_len, dtype=torch.float64), frequency)  # (max_len, width / 2) radians
        self.register_buffer("cos", angle.cos().float(), persistent=False)
        self.register_buffer("sin", angle.sin().float(), persistent=False)

    def forward(self, x: Tensor, start: int = 0) -> Tensor:
        """x (..., T, width) turned; same dtype as x. Raises BadInput beyond `max_len`."""
        end = start + x.shape[-2]
        if end > self.cos.shape[0]:
            raise BadInput(f"rotary positions reach to {self.cos.shape[0]}; position {end - 1} was given")
        cos, sin = self.cos[start:end].to(x.dtype), self.sin[start:end].to(x.dtype)
        a, b = x.chunk(2, dim=-1)
        return torch.cat((a * cos - b * sin, a * sin + b * cos), dim=-1)
