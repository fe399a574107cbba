"""What the wave attentions share: waves in place of queries and keys, values, output, and decoding."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lot import Context, Dims, GeneratorFor
from lot.nn import Ablatable, CachedAttention, KeyValueCache, attention_mask, dropout_now, require_heads
from lot_wave.config import InterferenceConfig, PureWaveConfig
from lot_wave.ops.linear import LinearState, linear_attention
from lot_wave.ops.waves import Waves, evolved_phase


class TokenWaves(Ablatable, nn.Module):
    """x (B, T, D) -> the waves of its tokens: A = softplus(x W_a), w = x W_f, p = x W_p, in float32 or wider.

    By default there is no bias: one on the phase, or on the frequency where only differences of frequency count,
    could not act. amplitude: whether A is learned, else it is 1.
    While `ablate` lasts, every wave starts at a random phase.
    """

    def __init__(self, dims: Dims, waves: int, *, bias: bool = False, amplitude: bool = True) -> None:
        super().__init__()
        self.heads, self.waves, self.parts = dims.heads, waves, 3 if amplitude else 2
        self.linear = nn.Linear(dims.width, self.parts * dims.heads * waves, bias=bias)

    def forward(self, x: Tensor) -> Waves:
        """Waves, each part (B, H, T, W)."""
        B, T, _ = x.shape
        wide = torch.promote_types(x.dtype, torch.float32)
        # A frequency rounded to bfloat16 is off by radians after a few hundred tokens.
        with torch.autocast(x.device.type, enabled=False):
            bias = None if self.linear.bias is None else self.linear.bias.to(wide)
            flat = F.linear(x.to(wide), self.linear.weight.to(wide), bias)
            parts = flat.view(B, T, self.parts, self.heads, self.waves).permute(2, 0, 3, 1, 4)  # (3 or 2, B, H, T, W)
            *amplitude, frequency, phase = parts.unbind(0)
        if self.scrambler is not None:
            turn = torch.rand(phase.shape, generator=self.scrambler, dtype=torch.float32, device=self.scrambler.device)
            phase = phase + 2 * math.pi * turn.to(phase)
        return Waves(F.softplus(amplitude[0]) if amplitude else torch.ones_like(phase), frequency, phase)


class WaveAttention(CachedAttention[KeyValueCache | LinearState]):
    """Attention between waves. A subclass says what a pair weighs: in full, fast, and where possible as features."""

    linear: bool
    """Whether weights are products of `features`, divided by their row sum: O(T), with a state of fixed size."""

    def __init__(
        self,
        config: InterferenceConfig | PureWaveConfig,
        dims: Dims,
        *,
        own_keys: bool,
        bias: bool = False,
        amplitude: bool = True,
    ) -> None:
        """own_keys, bias, amplitude: see `TokenWaves`; keys have waves of their own or those of the queries."""
        super().__init__()
        require_heads(dims)
        self.dims = dims
        self.causal = dims.causal if config.causal is None else config.causal
        self.token_waves = TokenWaves(dims, config.waves, bias=bias, amplitude=amplitude)
        self.key_waves = TokenWaves(dims, config.waves, bias=bias, amplitude=amplitude) if own_keys else None
        self.value = nn.Linear(dims.width, dims.width)
        self.out = nn.Linear(dims.width, dims.width)

    def weights(self, query: Waves, key: Waves, allowed: Tensor, start: int) -> Tensor:
        """Weights (B, H, Tq, Tk) by the plain formula; `start` is the position of the first key, queries come last."""
        raise NotImplementedError

    def features(self, query: Waves, key: Waves, start: int) -> tuple[Tensor, Tensor]:
        """(B, H, T, F) features of queries and keys, both from position `start` on; only where `linear`."""
        raise NotImplementedError

    def mix(self, query: Waves, key: Waves, v: Tensor, start: int, padding: Tensor | None) -> Tensor:
        """Weighted values (B, H, Tq, d) in a form that stores no T x T weights; only where not `linear`."""
        raise NotImplementedError

    def reset_parameters(self, generator_for: GeneratorFor) -> None:
        """N(0, 0.02); the output, which adds to the residual stream, scaled by 1/sqrt(2L)."""
        super().reset_parameters(generator_for)
        std = 0.02 / math.sqrt(2 * self.dims.layers)
        nn.init.normal_(self.out.weight, std=std, generator=generator_for("out.weight"))

    def forward(self, x: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        """y (B, T, D). On request `attention` (B, H, T, T), and `phase`, the evolved phases (B, H, T, W)."""
        query, key, v = self._split(x)
        with torch.autocast(x.device.type, enabled=False):
            if self.linear:
                y = linear_attention(*self.features(query, key, ctx.start), v, causal=self.causal, padding=ctx.padding)
            else:
                y = self.mix(query, key, v, ctx.start, ctx.padding)
            signals = {}
            if "attention" in self.want:
                T = x.shape[1]
                allowed = attention_mask(T, T, self.causal, ctx.padding, x.device)
                everywhere = torch.ones((), dtype=torch.bool, device=x.device)
                signals["attention"] = self.weights(query, key, everywhere if allowed is None else allowed, ctx.start)
            if "phase" in self.want:
                signals["phase"] = evolved_phase(query, ctx.start)
        return self._merge(y), signals

    def empty_cache(self, batch: int, device: torch.device | str, dtype: torch.dtype) -> KeyValueCache | LinearState:
        """What decoding keeps: where `linear`, a state of one size, whatever the number of tokens.

        Elsewhere the waves of tokens, (B, H, max_len, 3 W) in float32 or wider, take the place of keys.
        """
        if self.linear:
            return LinearState()
        shape = (batch, self.dims.heads, self.dims.max_len)
        waves = torch.zeros(
            *shape, 3 * self.token_waves.waves, device=device, dtype=torch.promote_types(dtype, torch.float32)
        )
        return KeyValueCache(waves, torch.zeros(*shape, self.dims.head_width, device=device, dtype=dtype))

    def extend(
        self, x: Tensor, ctx: Context, cache: KeyValueCache | LinearState
    ) -> tuple[Tensor, KeyValueCache | LinearState]:
        """y (B, n, D) of the next n tokens x (B, n, D), which join the cache."""
        query, key, v = self._split(x)
        with torch.autocast(x.device.type, enabled=False):
            if isinstance(cache, LinearState):
                y = cache.extend(*self.features(query, key, ctx.start), v, ctx.padding)
            else:
                cache.append(torch.cat(key, dim=-1), v, padding=ctx.padding)
                start = ctx.start + x.shape[1] - cache.length
                waves, values, padding = cache.content()
                y = self.mix(query, Waves(*waves.chunk(3, dim=-1)), values.to(v.dtype), start, padding)
        return self._merge(y), cache

    def ablate(self, generator: torch.Generator) -> AbstractContextManager[None]:
        """A context in which every wave starts at a random phase."""
        return self.token_waves.ablate(generator)

    def dropout(self) -> float:
        """Probability of dropping a weight now."""
        return dropout_now(self, self.dims)

    def _split(self, x: Tensor) -> tuple[Waves, Waves, Tensor]:
        query = self.token_waves(x)
        key = query if self.key_waves is None else self.key_waves(x)
        v = self.value(x).unflatten(-1, (self.dims.heads, -1)).transpose(1, 2)  # (B, H, T, d)
        return query, key, v

    def _merge(self, y: Tensor) -> Tensor:
        return self.out(y.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]
