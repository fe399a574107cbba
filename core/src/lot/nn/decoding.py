"""Decoding with a cache: what an attention keeps of the tokens so far.

Without it, each new token would cost a pass over the whole sequence.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor

from lot.contracts import Attention, Context, Dims
from lot.errors import BadInput
from lot.nn.attention import attend, attention_weights

CacheT = TypeVar("CacheT")


class CachedAttention(Attention, Generic[CacheT]):
    """An attention that decodes with a cache of type `CacheT`. A mechanism writes two methods:

        def empty_cache(self, batch, device, dtype):  # what it keeps before the first token
            return KeyValueCache.empty(batch, self.dims, device, dtype)

        def extend(self, x, ctx, cache):              # the next n tokens, which join the cache
            q, k, v = self.heads.split(x, ctx.start)
            cache.append(k, v, padding=ctx.padding)
            return self.heads.merge(cache.attend(q)), cache

    The rest of the contract (`can_decode`, `init_cache`, `prefill`, `decode`; see `lot.Attention`)
    follows from these. The outputs must equal those of `forward` over all tokens at once:
    the kit checks that, in pieces of several lengths.

    A cache holds all that later tokens need, and the module itself keeps nothing,
    since one module serves several caches in turn. `extend` may change the cache in place or return
    a new one; callers go on with the one that it returns.
    """

    def empty_cache(self, batch: int, device: torch.device | str, dtype: torch.dtype) -> CacheT:
        """The cache of `batch` sequences before their first token, for x of `dtype`.

        It has room for `dims.max_len` tokens.
        """
        raise NotImplementedError

    def extend(self, x: Tensor, ctx: Context, cache: CacheT) -> tuple[Tensor, CacheT]:
        """y (B, n, D) of the next n >= 1 tokens x (B, n, D), and the cache that holds them too.

        `ctx.start` is the position of the first of them;
        `ctx.padding` (B, n) bool, or None, says which of them are padding.
        """
        raise NotImplementedError

    def can_decode(self) -> bool:
        """Whether this module decodes with a cache: only when it is causal.

        Otherwise a later token would change the outputs of earlier ones.
        """
        return self.causal

    def init_cache(self, batch: int, device: torch.device | str, dtype: torch.dtype) -> CacheT:
        """`empty_cache`. Raises BadInput where `can_decode` is false."""
        if not self.can_decode():
            which = "this attention" if self.causal else "a non-causal attention"
            raise BadInput(f"{which} cannot decode token by token")
        return self.empty_cache(batch, device, dtype)

    def prefill(self, x: Tensor, ctx: Context, cache: CacheT) -> tuple[Tensor, CacheT]:
        """y (B, n, D) of the next n tokens x (B, n, D), those of a prompt, and the cache after them."""
        return self.extend(x, ctx, cache)

    def decode(self, x: Tensor, ctx: Context, cache: CacheT) -> tuple[Tensor, CacheT]:
        """y (B, 1, D) of the next token x (B, 1, D), a prompt of one token, and the cache after it."""
        return self.prefill(x, ctx, cache)


@dataclass
class KeyValueCache:
    """Keys and values of the tokens so far: k, v (B, H, capacity, d); the first `length` are filled.

    features: (B, H, capacity, e) float32, what a mechanism adds to the keys, or None.
    padding: (B, capacity) bool, True where a token is padding, or None as long as no padding came.
    """

    k: Tensor
    v: Tensor
    features: Tensor | None = None
    padding: Tensor | None = None
    length: int = 0

    @classmethod
    def empty(
        cls, batch: int, dims: Dims, device: torch.device | str, dtype: torch.dtype, features: int = 0
    ) -> KeyValueCache:
        """A cache with room for `dims.max_len` tokens.

        features: number e of key features per token and head, kept in float32.
        """
        shape = (batch, dims.heads, dims.max_len)
        k = torch.zeros(*shape, dims.head_width, device=device, dtype=dtype)
        extra = torch.zeros(*shape, features, device=device, dtype=torch.float32) if features else None
        return cls(k, torch.zeros_like(k), extra)

    def append(self, k: Tensor, v: Tensor, features: Tensor | None = None, padding: Tensor | None = None) -> None:
        """Add n tokens: k, v (B, H, n, d), features (B, H, n, e), padding (B, n) bool.

        Raises BadInput when they do not fit, and ValueError for features where the cache has none,
        or the reverse.
        """
        start, end = self.length, self.length + k.shape[-2]
        if end > self.k.shape[-2]:
            raise BadInput(f"the decoding cache holds {self.k.shape[-2]} tokens; {end} were given")
        if (self.features is None) != (features is None):
            raise ValueError("a cache that was made with key features takes them with every token, and no other does")
        self.k[:, :, start:end], self.v[:, :, start:end] = k.to(self.k.dtype), v.to(self.v.dtype)
        if self.features is not None and features is not None:
            self.features[:, :, start:end] = features.to(self.features.dtype)
        if padding is not None and self.padding is None:
            self.padding = torch.zeros(self.k.shape[0], self.k.shape[-2], dtype=torch.bool, device=k.device)
        if self.padding is not None and padding is not None:
            self.padding[:, start:end] = padding
        self.length = end

    def content(self, dtype: torch.dtype | None = None) -> tuple[Tensor, Tensor, Tensor | None]:
        """k and v (B, H, length, d) and padding (B, length), or None, of the tokens so far.

        dtype: what k and v are converted to; default: as they are kept.
        """
        n = self.length
        padding = None if self.padding is None else self.padding[:, :n]
        k, v = self.k[:, :, :n], self.v[:, :, :n]
        return (k, v, padding) if dtype is None else (k.to(dtype), v.to(dtype), padding)

    def attend(self, q: Tensor, *, query_features: Tensor | None = None) -> Tensor:
        """Causal attention (B, H, n, d) of q (B, H, n, d), the last n tokens, over the whole cache."""
        k, v, padding = self.content(q.dtype)
        if self.features is None or query_features is None:
            return attend(q, k, v, causal=True, padding=padding)
        features = self.features[:, :, : self.length]
        if q.shape[-2] > 1:
            return attend(q, k, v, causal=True, padding=padding, query_features=query_features, key_features=features)
        # Of one token: fused attention would want a copy of all keys and values, with room for the features.
        weights = attention_weights(
            q, k, causal=True, padding=padding, query_features=query_features, key_features=features
        )
        return weights.to(v.dtype) @ v
