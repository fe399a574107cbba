"""Vanilla attention: the baseline that every mechanism is compared with."""

from __future__ import annotations

import contextlib

import torch
from torch import Tensor

from lot.builtin.config import VanillaConfig
from lot.contracts import Context, Dims, GeneratorFor
from lot.nn import CachedAttention, KeyValueCache, Projections, attend, attention_weights, dropout_now


class Vanilla(CachedAttention[KeyValueCache]):
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
        q, k, v = self.heads.split(x, ctx.start, ctx.positions)
        y = attend(q, k, v, causal=self.causal, padding=ctx.padding, dropout=dropout_now(self, self.dims))
        signals = {}
        if "attention" in self.want:
            signals["attention"] = attention_weights(q, k, causal=self.causal, padding=ctx.padding)
        return self.heads.merge(y), signals

    def neutral(self) -> contextlib.AbstractContextManager[None]:
        """A context that changes nothing, since this is what others become; what a subclass adds it has to leave out itself."""
        return contextlib.nullcontext() if type(self) is Vanilla else super().neutral()

    def empty_cache(self, batch: int, device: torch.device | str, dtype: torch.dtype) -> KeyValueCache:
        """Keys and values of no token."""
        return KeyValueCache.empty(batch, self.dims, device, dtype)

    def extend(self, x: Tensor, ctx: Context, cache: KeyValueCache) -> tuple[Tensor, KeyValueCache]:
        """y (B, n, D) of the next n tokens x (B, n, D), which join the cache."""
        q, k, v = self.heads.split(x, ctx.start, ctx.positions)
        cache.append(k, v, padding=ctx.padding)
        return self.heads.merge(cache.attend(q)), cache
