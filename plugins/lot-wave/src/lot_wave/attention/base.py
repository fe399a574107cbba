"""What the wave attentions share: waves in place of queries and keys, values, output, and decoding."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lot import BadInput, Context, Dims, GeneratorFor
from lot.nn import Ablatable, CachedAttention, attention_mask, dropout_now, require_heads
from lot_wave.config import InterferenceConfig, PureWaveConfig
from lot_wave.ops.linear import LinearState, linear_attention
from lot_wave.ops.waves import Waves, evolved_phase


class TokenWaves(Ablatable, nn.Module):
    """x (B, T, D) -> the waves of its tokens: A = softplus(x W_a), w = x W_f, p = x W_p, in float32 or wider.

    There is no bias: one on the phase, or on the frequency where only differences of frequency count, could not act.
    While `ablate` lasts, every wave starts at a random phase.
    """

    def __init__(self, dims: Dims, waves: int) -> None:
        super().__init__()
        self.heads, self.waves = dims.heads, waves
        self.linear = nn.Linear(dims.width, 3 * dims.heads * waves, bias=False)

    def forward(self, x: Tensor) -> Waves:
        """Waves, each part (B, H, T, W)."""
        B, T, _ = x.shape
        wide = torch.promote_types(x.dtype, torch.float32)
        # A frequency rounded to bfloat16 is off by radians after a few hundred tokens.
        with torch.autocast(x.device.type, enabled=False):
            flat = F.linear(x.to(wide), self.linear.weight.to(wide))
            parts = flat.view(B, T, 3, self.heads, self.waves).permute(2, 0, 3, 1, 4)  # (3, B, H, T, W)
            amplitude, frequency, phase = parts.unbind(0)
        if self.scrambler is not None:
            turn = torch.rand(phase.shape, generator=self.scrambler, dtype=torch.float32, device=self.scrambler.device)
            phase = phase + 2 * math.pi * turn.to(phase)
        return Waves(F.softplus(amplitude), frequency, phase)


@dataclass
class WaveCache:
    """Waves (3, B, H, capacity, W), in float32 or wider, and values (B, H, capacity, d) of the tokens so far.

    `length` are filled; padding (B, capacity) bool or None.
    """

    waves: Tensor
    v: Tensor
    padding: Tensor | None = None
    length: int = 0

    @classmethod
    def empty(cls, batch: int, dims: Dims, waves: int, device: torch.device | str, dtype: torch.dtype) -> WaveCache:
        """A cache with room for `dims.max_len` tokens."""
        shape = (batch, dims.heads, dims.max_len)
        wide = torch.promote_types(dtype, torch.float32)
        return cls(
            torch.zeros(3, *shape, waves, device=device, dtype=wide),
            torch.zeros(*shape, dims.head_width, device=device, dtype=dtype),
        )

    def append(self, key: Waves, v: Tensor, padding: Tensor | None) -> None:
        """Add n tokens: waves (B, H, n, W), v (B, H, n, d), padding (B, n). Raises BadInput when full."""
        start, end = self.length, self.length + v.shape[-2]
        if end > self.v.shape[-2]:
            raise BadInput(f"the decoding cache holds {self.v.shape[-2]} tokens; {end} were given")
        for own, part in zip(self.waves, key, strict=True):
            own[:, :, start:end] = part.to(own.dtype)
        self.v[:, :, start:end] = v.to(self.v.dtype)
        if padding is not None and self.padding is None:
            self.padding = torch.zeros(self.v.shape[0], self.v.shape[-2], dtype=torch.bool, device=v.device)
        if self.padding is not None and padding is not None:
            self.padding[:, start:end] = padding
        self.length = end

    def content(self) -> tuple[Waves, Tensor, Tensor | None]:
        """Waves, values and padding of the tokens so far."""
        padding = None if self.padding is None else self.padding[:, : self.length]
        return Waves(*self.waves[..., : self.length, :]), self.v[:, :, : self.length], padding


class WaveAttention(CachedAttention[WaveCache | LinearState]):
    """Attention between waves. A subclass says what a pair weighs: in full, fast, and where possible as features."""

    linear: bool
    """Whether weights are products of `features`, divided by their row sum: O(T), with a state of fixed size."""

    def __init__(self, config: InterferenceConfig | PureWaveConfig, dims: Dims) -> None:
        super().__init__()
        require_heads(dims)
        self.dims = dims
        self.causal = dims.causal if config.causal is None else config.causal
        self.token_waves = TokenWaves(dims, config.waves)
        self.key_waves = TokenWaves(dims, config.waves) if config.own_keys else None
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

    def empty_cache(self, batch: int, device: torch.device | str, dtype: torch.dtype) -> WaveCache | LinearState:
        """The waves and values of no token, or where `linear` a state of one size, whatever the number of tokens."""
        if self.linear:
            return LinearState()
        return WaveCache.empty(batch, self.dims, self.token_waves.waves, device, dtype)

    def extend(self, x: Tensor, ctx: Context, cache: WaveCache | LinearState) -> tuple[Tensor, WaveCache | LinearState]:
        """y (B, n, D) of the next n tokens x (B, n, D), which join the cache."""
        query, key, v = self._split(x)
        with torch.autocast(x.device.type, enabled=False):
            if isinstance(cache, LinearState):
                y = cache.extend(*self.features(query, key, ctx.start), v, ctx.padding)
            else:
                cache.append(key, v, ctx.padding)
                start = ctx.start + x.shape[1] - cache.length
                keys, values, padding = cache.content()
                y = self.mix(query, keys, values.to(v.dtype), start, padding)
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
