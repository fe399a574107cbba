"""The streaming state as its source has it, a GRU in each head: to re-test its claim; and the choice between the two."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from lot import Context, Dims, GeneratorFor
from lot.nn import CachedAttention
from lot_toroidal.attention.emitted import mixing_signal
from lot_toroidal.attention.encoding import PublishedEncoding, split_platters
from lot_toroidal.attention.fusion import fusion
from lot_toroidal.attention.latent import LatentAttention, LatentState
from lot_toroidal.attention.toroidal import TorusHeads
from lot_toroidal.config import LatentConfig
from lot_toroidal.ops.scan import gru_scan


def latent_attention(config: LatentConfig, dims: Dims) -> LatentAttention | PerHeadLatentAttention:
    """The attention that `update` names."""
    return PerHeadLatentAttention(config, dims) if config.update == "gru_per_head" else LatentAttention(config, dims)


class PerHeadLatentAttention(CachedAttention[LatentState]):
    """z_t = GRU(U [k, v], z_{t-1}) in each head, one cell for all; y = fusion(W_o (z_t sigmoid((W q) . z_t / sqrt(m)))).

    q, k, v (p channels): means over the platters of a head, k after its platters were turned as at position 0. m: width of
    the state of a head. What a head gives is repeated over its platters before the fusion. Always causal.
    """

    causal = True
    rotary = True  # its order in time is all that it knows of positions

    def __init__(self, config: LatentConfig, dims: Dims) -> None:
        super().__init__()
        self.options, self.dims, self.depth = config, dims, config.depth
        self.heads = TorusHeads(config, config.depth, dims, PublishedEncoding)
        p = self.heads.width
        self.latent = dims.head_width if config.latent is None else config.latent
        self.write = nn.Linear(2 * p, self.latent)
        self.update, self.hidden = nn.Linear(self.latent, 3 * self.latent), nn.Linear(self.latent, 3 * self.latent)
        self.gate, self.read = nn.Linear(p, self.latent, bias=False), nn.Linear(self.latent, p, bias=False)
        self.fusion = fusion(config.fusion, config.depth, config.rank, p)

    def reset_parameters(self, generator_for: GeneratorFor) -> None:
        """Weights as GPT-2; the fusion keeps the size of a platter."""
        self.heads.reset_parameters(lambda name: generator_for(f"heads.{name}"))
        for name in ("write", "update", "hidden", "gate", "read"):
            linear = self.get_submodule(name)
            assert isinstance(linear, nn.Linear)
            nn.init.normal_(linear.weight, std=0.02, generator=generator_for(f"{name}.weight"))
            if linear.bias is not None:
                nn.init.zeros_(linear.bias)
        self.fusion.reset_parameters(lambda name: generator_for(f"fusion.{name}"))

    def forward(self, x: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        """y (B, T, D); on request platter_mixing (D, D)."""
        o, _ = self._run(x, ctx.padding, None)
        signals = mixing_signal(self.fusion.matrix(o), self.want) if "platter_mixing" in self.want else {}
        return self.heads.unite(self.fusion(o)), signals

    def _run(self, x: Tensor, padding: Tensor | None, h: Tensor | None) -> tuple[Tensor, Tensor]:
        """o (B, H, T, D, p), equal on all platters, and the states (B, H, T, m) after each token. Padding writes nothing."""
        B, T, _ = x.shape
        H, m = self.dims.heads, self.latent
        q, k, v = (split_platters(part, self.depth) for part in self.heads.split(x))  # (B, H, T, D, p)
        cos, sin = self.heads.encoding.table(0, 1, x.device, torch.promote_types(k.dtype, torch.float32))
        a, b = k.to(cos.dtype).chunk(2, dim=-1)
        k = torch.cat((a * cos - b * sin, a * sin + b * cos), dim=-1).to(v.dtype).mean(-2)
        gates = self.update(self.write(torch.cat((k, v.mean(-2)), dim=-1)))  # (B, H, T, 3m)
        wide = torch.promote_types(gates.dtype, torch.float32)
        h = torch.zeros(B, H * m, device=x.device, dtype=wide) if h is None else h.to(wide)
        skip = torch.zeros(B, T, dtype=torch.bool, device=x.device) if padding is None else padding
        states = gru_scan(
            gates.to(wide).flatten(0, 1),
            self.hidden.weight.to(wide),
            self.hidden.bias.to(wide),
            h.view(B * H, m),
            skip[:, None].expand(B, H, T).flatten(0, 1),
        ).view(B, H, T, m)
        asked = (self.gate(q.mean(-2)).to(wide) * states).sum(-1, keepdim=True) / math.sqrt(m)
        y = self.read((states * torch.sigmoid(asked)).to(self.read.weight.dtype))  # (B, H, T, p)
        return y[..., None, :].expand(-1, -1, -1, self.depth, -1), states

    def empty_cache(self, batch: int, device: torch.device | str, dtype: torch.dtype) -> LatentState:
        """The states (B, H m) before the first token, zero."""
        wide = torch.promote_types(dtype, torch.float32)
        return LatentState(torch.zeros(batch, self.dims.heads * self.latent, device=device, dtype=wide))

    def extend(self, x: Tensor, ctx: Context, cache: LatentState) -> tuple[Tensor, LatentState]:
        """y (B, n, D) of the next n tokens x (B, n, D), which the states take in."""
        o, states = self._run(x, ctx.padding, cache.h)
        cache.h, cache.length = states[:, :, -1].flatten(1), cache.length + x.shape[1]
        return self.heads.unite(self.fusion(o)), cache

    def describe(self) -> str:
        """The recurrence and how it is trained."""
        return (
            f"gru_per_head, a state of {self.latent} in each of {self.dims.heads} heads, one position after another; "
            f"{self.depth} platters, averaged"
        )
