"""Toroidal attention: the channels of a head are platters, positions lie on a ring, every platter attends to all."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from lot import BadInput, Context, Dims, GeneratorFor
from lot.nn import CachedAttention, KeyValueCache, Neutralizable, attend as plain_attend, dropout_now
from lot_toroidal.attention.emitted import attention_signals, mixing_signal, neutral_signals
from lot_toroidal.attention.encoding import (
    PublishedEncoding,
    TorusEncoding,
    check_length,
    resolve_period,
    split_platters,
    split_width,
)
from lot_toroidal.attention.fusion import fusion
from lot_toroidal.attention.plain import PlainHeads
from lot_toroidal.config import EncodingOptions, ToroidalConfig, TorusOptions
from lot_toroidal.ops.dispatch import attend, check_backend, choose
from lot_toroidal.ops.torus import Torus


class TorusHeads(PlainHeads):
    """Queries, keys and values (B, H, T, D, p) split over platters, the first two turned by position and platter."""

    def __init__(
        self, options: EncodingOptions, depth: int, dims: Dims, encoding: type[TorusEncoding] = TorusEncoding
    ) -> None:
        super().__init__(dims)
        self.depth = depth
        self.width = split_width(dims.head_width, depth, "the head width")
        self.period = resolve_period(options.period, dims.max_len)
        self.encoding = encoding(options, self.width, depth, self.period, "the head width")

    def platters(self, x: Tensor, start: int = 0) -> tuple[Tensor, Tensor, Tensor]:
        """x (B, T, D) -> q, k, v (B, H, T, D, p); `start` is the position of the first token. Raises BadInput past the period."""
        check_length(start + x.shape[1], self.period)
        q, k, v = (split_platters(part, self.depth) for part in self.split(x))
        return self.encoding(q, start), self.encoding(k, start), v

    def unite(self, y: Tensor) -> Tensor:
        """y (B, H, T, D, p) -> (B, T, D) through the output projection."""
        return self.merge(y.flatten(3))


class TorusAttention(Neutralizable, CachedAttention[KeyValueCache]):
    """What attention over platters shares: projections, encoding, fusion, signals and decoding. A subclass says how to attend.

    Neutral is one platter, which holds all channels of a head, no distance, no window, and the positions of the trunk.
    """

    rotary = True  # it turns queries and keys by itself, whatever the trunk does

    def __init__(
        self,
        options: TorusOptions,
        dims: Dims,
        *,
        causal: bool | None,
        window: int | None,
        encoding: type[TorusEncoding] = TorusEncoding,
    ) -> None:
        super().__init__()
        self.options, self.dims = options, dims
        self.causal = dims.causal if causal is None else causal
        self.heads = TorusHeads(options, options.depth, dims, encoding)
        self.fusion = fusion(options.fusion, options.depth, options.rank, self.heads.width)
        self.torus = Torus(
            period=self.heads.period,
            depth=options.depth,
            strength=options.lambda_distance,
            window=window,
            causal=self.causal,
        )

    def reset_parameters(self, generator_for: GeneratorFor) -> None:
        """Projections as GPT-2; the fusion keeps the size of a platter."""
        self.heads.reset_parameters(lambda name: generator_for(f"heads.{name}"))
        self.fusion.reset_parameters(lambda name: generator_for(f"fusion.{name}"))

    def attend(self, q: Tensor, k: Tensor, v: Tensor, ctx: Context, mask: Tensor | None) -> Tensor:
        """o (B, H, Tq, D, p) of queries that are the last Tq of Tk positions."""
        raise NotImplementedError

    def torus_of(self, length: int) -> Torus:
        """The torus of a sequence of `length` tokens: here the same for all."""
        return self.torus

    def forward(self, x: Tensor, ctx: Context, mask: Tensor | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """y (B, T, D); on request attention (B, H, T, T), platter_attention (H, T, T, D), platter_mixing (D, D).

        mask: (B, T, T) or (T, T) bool, True where a query may look, beside the causal mask, the window and `ctx.padding`.
        """
        if self.is_neutral:
            return self._neutral_forward(x, ctx, mask)
        if mask is not None:
            mask = mask.expand(x.shape[0], -1, -1)
        q, k, v = self.heads.platters(x, ctx.start)
        o = self.attend(q, k, v, ctx, mask)
        signals = attention_signals(q, k, self.torus_of(k.shape[2]), self.want, ctx.padding, mask)
        if "platter_mixing" in self.want:
            signals |= mixing_signal(self.fusion.matrix(o), self.want)
        return self.heads.unite(self.fusion(o)), signals

    def _neutral_forward(self, x: Tensor, ctx: Context, mask: Tensor | None) -> tuple[Tensor, dict[str, Tensor]]:
        if mask is not None:
            raise BadInput(
                "neutral toroidal attention takes padding, but no mask of the batch", fix="leave one of the two out"
            )
        q, k, v = self.heads.plain(x, ctx.start, ctx.positions)
        y = self.neutral_attend(q, k, v, ctx)
        return self.heads.merge(y), neutral_signals(q, k, self.torus, self.want, ctx.padding)

    def neutral_attend(self, q: Tensor, k: Tensor, v: Tensor, ctx: Context) -> Tensor:
        """Vanilla attention (B, H, T, d) of heads (B, H, T, d)."""
        return plain_attend(q, k, v, causal=self.causal, padding=ctx.padding, dropout=dropout_now(self, self.dims))

    def empty_cache(self, batch: int, device: torch.device | str, dtype: torch.dtype) -> KeyValueCache:
        """Keys, turned, and values of no token."""
        return KeyValueCache.empty(batch, self.dims, device, dtype)

    def extend(self, x: Tensor, ctx: Context, cache: KeyValueCache) -> tuple[Tensor, KeyValueCache]:
        """y (B, n, D) of the next n tokens x (B, n, D), which join the cache."""
        if self.is_neutral:
            q, k, v = self.heads.plain(x, ctx.start, ctx.positions)
            cache.append(k, v, padding=ctx.padding)
            return self.heads.merge(cache.attend(q)), cache
        q, k, v = self.heads.platters(x, ctx.start)
        cache.append(k.flatten(3), v.flatten(3), padding=ctx.padding)
        k, v, padding = cache.content(q.dtype)
        k, v = split_platters(k, self.torus.depth), split_platters(v, self.torus.depth)
        # Prompts come in every length, and a compiled kernel serves a single one: tiles serve all.
        o = attend(q, k, v, self.torus, padding=padding, backend="sdpa")
        return self.heads.unite(self.fusion(o)), cache

    def describe_torus(self) -> str:
        """Ring, platters and encoding in words."""
        bases = "orthogonal" if self.heads.encoding.orthogonal else "plain"
        if self.heads.width == 2 and self.torus.depth > 1:
            bases = "parallel (platters of 2 channels cannot be orthogonal)"
        ring = f"ring of {self.torus.period}"
        frequencies = f"{self.options.frequencies} frequencies"
        if isinstance(self.heads.encoding, PublishedEncoding):
            ring, frequencies = "ring of the sequence at hand", "published frequencies"
        return f"{ring}, depth {self.torus.depth}, {frequencies}, {bases} bases, fusion {self.options.fusion}"


class ToroidalAttention(TorusAttention):
    """softmax(Q K^T / sqrt(p) - lambda delta) V over all positions and platters, then fusion over platters."""

    options: ToroidalConfig

    def __init__(self, config: ToroidalConfig, dims: Dims) -> None:
        self.published = self.depends_on_length = config.form == "published"
        if self.published:
            _refuse_ring(config)
        encoding = PublishedEncoding if self.published else TorusEncoding
        super().__init__(config, dims, causal=config.causal, window=config.window, encoding=encoding)
        check_backend(config.backend, self.torus, dims.dropout)

    def attend(self, q: Tensor, k: Tensor, v: Tensor, ctx: Context, mask: Tensor | None) -> Tensor:
        """In the form that the backend and the shape call for."""
        return attend(
            q,
            k,
            v,
            self.torus_of(k.shape[2]),
            padding=ctx.padding,
            mask=mask,
            dropout=dropout_now(self, self.dims),
            backend=self.options.backend,
            chunk=self.options.chunk,
            recompute=self.options.recompute,
        )

    def torus_of(self, length: int) -> Torus:
        """As published, a ring of `length`; a window that would meet itself on it hides nothing."""
        if not self.published:
            return self.torus
        window = self.torus.window
        if window is not None and isinstance(length, int) and 2 * window >= length:
            window = None
        return replace(self.torus, period=length, window=window)

    def can_decode(self) -> bool:
        """As every attention; not as published, where a new token changes the angles and distances of all others."""
        return super().can_decode() and (self.is_neutral or not self.published)

    def describe(self) -> str:
        """The form that runs on this device at the longest sequence, and why."""
        device = self.heads.out.weight.device.type
        form, why = choose(
            self.options.backend, self.torus, device, self.dims.max_len, dropout=dropout_now(self, self.dims)
        )
        return f"backend {self.options.backend} runs {form} ({why}); {self.describe_torus()}"


def _refuse_ring(config: ToroidalConfig) -> None:
    """Raises BadInput for options of a fixed ring, which the published form does not have."""
    for name, neutral in (("period", None), ("frequencies", "integer")):
        if getattr(config, name) != neutral:
            raise BadInput(
                where=name,
                expected="its default with form=published, whose ring is the sequence at hand",
                got=getattr(config, name),
            )
