"""Vanilla attention: the arm that everything is measured against."""

from __future__ import annotations

import torch
from torch import Tensor

from lot.builtin.config import VanillaConfig
from lot.contracts import Attention, Context, Dims, GeneratorFor
from lot.errors import BadInput
from lot.nn import KeyValueCache, Projections, attend, attention_weights, dropout_now


class Vanilla(Attention):
    """Multi-head scaled dot-product attention (Vaswani et al., 2017), on torch's fused kernels."""

    rotary = True

    def __init__(self, config: VanillaConfig, dims: Dims) -> None:
        super().__init__()
        self.dims = dims
        self.causal = dims.causal if config.causal is None else config.causal
        self.heads = Projections(dims)

    def reset_parameters(self, generator_for: GeneratorFor) -> None:
        """As GPT-2."""
        self.heads.reset_parameters(lambda name: generator_for(f"heads.{name}"))

    def forward(self, x: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        """y (B, T, D); on request the signal `attention` (B, H, T, T)."""
        q, k, v = self.heads.split(x, ctx.start)
        y = attend(q, k, v, causal=self.causal, padding=ctx.padding, dropout=dropout_now(self, self.dims))
        signals = {}
        if "attention" in self.want:
            signals["attention"] = attention_weights(q, k, causal=self.causal, padding=ctx.padding)
        return self.heads.merge(y), signals

    def can_decode(self) -> bool:
        """Whether this module decodes with a cache: only when causal."""
        return self.causal

    def init_cache(self, batch: int, device: torch.device | str, dtype: torch.dtype) -> KeyValueCache:
        """An empty cache of keys and values. Raises BadInput when not causal."""
        if not self.causal:
            raise BadInput("a non-causal attention cannot decode token by token")
        return KeyValueCache.empty(batch, self.dims, device, dtype)

    def prefill(self, x: Tensor, ctx: Context, cache: KeyValueCache) -> tuple[Tensor, KeyValueCache]:
        """y (B, n, D) of the next n tokens x (B, n, D), which join the cache."""
        q, k, v = self.heads.split(x, ctx.start)
        cache.append(k, v, padding=ctx.padding)
        return self.heads.merge(cache.attend(q)), cache

    def decode(self, x: Tensor, ctx: Context, cache: KeyValueCache) -> tuple[Tensor, KeyValueCache]:
        """y (B, 1, D) of the next token x (B, 1, D), which joins the cache."""
        return self.prefill(x, ctx, cache)
