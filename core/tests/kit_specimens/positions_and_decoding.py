"""Attention whose positions or decoding differ from what its forward says."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kit_specimens.leaks import Honest
from lot.contracts import Context, Dims
from lot.nn import KeyValueCache
from lot.options.declare import NoOptions


class FalseRotary(Honest):
    """Says that it turns queries and keys, and does not."""

    def __init__(self, config: NoOptions, dims: Dims) -> None:
        super().__init__(config, dims)
        self.heads.rotary = None


class LateDecoding(Honest):
    """Decodes each token one position late under rotary positions."""

    def decode(self, x: Tensor, ctx: Context, cache: KeyValueCache) -> tuple[Tensor, KeyValueCache]:
        return self.prefill(x, Context(ctx.step, max(0, ctx.start - 1), ctx.padding), cache)


class ForgetfulDecoding(Honest):
    """Decodes from the last eight tokens only."""

    def decode(self, x: Tensor, ctx: Context, cache: KeyValueCache) -> tuple[Tensor, KeyValueCache]:
        q, k, v = self.heads.split(x, ctx.start)
        cache.append(k, v)
        short = KeyValueCache(cache.k[:, :, : cache.length][:, :, -8:], cache.v[:, :, : cache.length][:, :, -8:])
        short.length = short.k.shape[2]
        return self.heads.merge(short.attend(q)), cache


class NonCausalPrefill(Honest):
    """A prompt whose tokens see each other."""

    def prefill(self, x: Tensor, ctx: Context, cache: KeyValueCache) -> tuple[Tensor, KeyValueCache]:
        q, k, v = self.heads.split(x, ctx.start)
        cache.append(k, v)
        n = cache.length
        y = nn.functional.scaled_dot_product_attention(q, cache.k[:, :, :n], cache.v[:, :, :n])
        return self.heads.merge(y), cache


class SharedCache(Honest):
    """One cache for all sequences."""

    def init_cache(self, batch: int, device: torch.device | str, dtype: torch.dtype) -> KeyValueCache:
        self.shared: KeyValueCache = super().init_cache(batch, device, dtype)
        return self.shared

    def prefill(self, x: Tensor, ctx: Context, cache: KeyValueCache) -> tuple[Tensor, KeyValueCache]:
        self.shared.length = min(self.shared.length, ctx.start)
        return super().prefill(x, ctx, self.shared)


class FirstLayerForgets(ForgetfulDecoding):
    """Decodes from the last eight tokens only, in the first layer alone."""

    def decode(self, x: Tensor, ctx: Context, cache: KeyValueCache) -> tuple[Tensor, KeyValueCache]:
        return super().decode(x, ctx, cache) if self.dims.layer == 0 else Honest.decode(self, x, ctx, cache)


class PaddingForgottenInCache(Honest):
    """Decoding attends to the padding of the prompt."""

    def prefill(self, x: Tensor, ctx: Context, cache: KeyValueCache) -> tuple[Tensor, KeyValueCache]:
        return super().prefill(x, Context(ctx.step, ctx.start), cache)


class NoDecode(Honest):
    """Offers a cache, and no way to use it."""

    decode = None  # type: ignore[assignment]
