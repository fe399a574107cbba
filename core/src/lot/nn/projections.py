"""Queries, keys, values and output of multi-head attention, and rotary positions."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from lot.contracts import Dims, GeneratorFor
from lot.errors import BadInput


def require_heads(dims: Dims) -> None:
    """Raises BadInput unless the heads divide the width, or have channels of their own, and the key heads divide the heads."""
    if dims.heads < 1 or (dims.head_channels is None and dims.width % dims.heads):
        raise BadInput(where="model.heads", expected=f"a divisor of the width {dims.width}", got=dims.heads)
    if dims.kv_heads is not None and (dims.kv_heads < 1 or dims.heads % dims.kv_heads):
        raise BadInput(where="model.kv_heads", expected=f"a divisor of the {dims.heads} heads", got=dims.kv_heads)


class Projections(nn.Module):
    """Queries, keys, values and output of multi-head attention, with rotary positions where `dims` asks for them.

    With fewer key heads than heads (grouped-query attention: Ainslie et al., 2023), each is repeated for the heads that it
    serves, so that a mechanism sees as many of all. Queries and keys are normalized, where `dims` asks for it, before they
    are turned.
    """

    def __init__(self, dims: Dims) -> None:
        super().__init__()
        require_heads(dims)
        self.dims = dims
        d, self.kv_heads = dims.head_width, dims.heads if dims.kv_heads is None else dims.kv_heads
        qkv_bias = dims.bias if dims.qkv_bias is None else dims.qkv_bias
        self.qkv = nn.Linear(dims.width, (dims.heads + 2 * self.kv_heads) * d, bias=qkv_bias)
        self.out = nn.Linear(dims.heads * d, dims.width, bias=dims.bias)
        self.query_norm = nn.RMSNorm(d, eps=dims.norm_eps) if dims.qk_norm else None
        self.key_norm = nn.RMSNorm(d, eps=dims.norm_eps) if dims.qk_norm else None
        rotary = Rotary(d, dims.max_len, dims.rope_base, dims.rotary_fraction) if dims.positions == "rotary" else None
        self.rotary = rotary

    def reset_parameters(self, generator_for: GeneratorFor) -> None:
        """GPT-2's values: N(0, 0.02), and the output, which adds to the residual stream, scaled by 1/sqrt(2L)."""
        nn.init.normal_(self.qkv.weight, std=0.02, generator=generator_for("qkv.weight"))
        std = 0.02 / math.sqrt(2 * self.dims.layers)
        nn.init.normal_(self.out.weight, std=std, generator=generator_for("out.weight"))
        for linear in (self.qkv, self.out):
            if linear.bias is not None:
                nn.init.zeros_(linear.bias)
        for norm in (self.query_norm, self.key_norm):
            if norm is not None:
                norm.reset_parameters()

    def split(self, x: Tensor, start: int = 0, positions: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """x (B, T, D) -> q, k, v (B, H, T, d); `start` is the position of the first token.

        positions: (B, T) int64, where tokens do not all follow `start` (see `Context`).
        """
        B, T, _ = x.shape
        H, d = self.dims.heads, self.dims.head_width
        # Split before the heads are made: gradients then join in one copy, in the layout of the projection.
        parts = self.qkv(x).split([heads * d for heads in (H, self.kv_heads, self.kv_heads)], dim=-1)
        q, k, v = (part.view(B, T, -1, d).transpose(1, 2) for part in parts)
        if self.query_norm is not None and self.key_norm is not None:
            q, k = self.query_norm(q), self.key_norm(k)
        if self.rotary is not None:
            q, k = self.rotary(q, start, positions), self.rotary(k, start, positions)
        if self.kv_heads < H:
            k, v = (part.repeat_interleave(H // self.kv_heads, dim=1) for part in (k, v))
        return q, k, v

    def merge(self, y: Tensor) -> Tensor:
        """y (B, H, T, d) -> (B, T, D) through the output projection."""
        return self.out(y.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


def find_projections(attention: nn.Module) -> tuple[str, Projections] | None:
    """The projections of an attention, and what their names begin with (`heads.`); None where it has none.

    They are what it shares with vanilla attention: what its neutral form is compared by, and what takes over the queries,
    keys, values and output of a pretrained layer. Of several, the first counts.
    """
    for path, module in attention.named_modules():
        if isinstance(module, Projections):
            return f"{path}." if path else "", module
    return None


class Rotary(nn.Module):
    """Rotary position embedding (Su et al., "RoFormer", 2021): pairs of channels turned by position x frequency.

    base: the slowest wavelength, in positions, divided by 2 pi. fraction: the share of the channels that turn, the first ones.
    """

    cos: Tensor
    sin: Tensor

    def __init__(self, width: int, max_len: int, base: float = 10000.0, fraction: float = 1.0) -> None:
        super().__init__()
        self.turned = int(fraction * width)
        if self.turned % 2 or not self.turned:
            fix = "change model.width or model.heads"
            raise BadInput(
                where="model.positions" if fraction == 1.0 else "model.rotary_fraction",
                expected="an even head width for rotary positions" if fraction == 1.0 else "an even number of channels",
                got=self.turned,
                fix=fix if fraction == 1.0 else f"{fix}, or the fraction",
            )
        frequency = base ** (-torch.arange(0, self.turned, 2, dtype=torch.float64) / self.turned)
        angle = torch.outer(torch.arange(max_len, dtype=torch.float64), frequency)  # (max_len, turned / 2) radians
        self.register_buffer("cos", angle.cos().float(), persistent=False)
        self.register_buffer("sin", angle.sin().float(), persistent=False)

    def forward(self, x: Tensor, start: int = 0, positions: Tensor | None = None) -> Tensor:
        """x (B, H, T, width) turned; same dtype as x. Raises BadInput beyond `max_len`.

        positions: (B, T) int64 in place of `start` and following; they are not checked, since that would wait for a GPU.
        """
        if positions is None:
            end = start + x.shape[-2]
            if end > self.cos.shape[0]:
                raise BadInput(f"rotary positions reach to {self.cos.shape[0]}; position {end - 1} was given")
            cos, sin = self.cos[start:end].to(x.dtype), self.sin[start:end].to(x.dtype)
        else:
            cos, sin = (table[positions].unsqueeze(1).to(x.dtype) for table in (self.cos, self.sin))
        still = x[..., self.turned :]
        a, b = x[..., : self.turned].chunk(2, dim=-1)
        turned = (a * cos - b * sin, a * sin + b * cos)
        return torch.cat(turned if self.turned == x.shape[-1] else (*turned, still), dim=-1)
