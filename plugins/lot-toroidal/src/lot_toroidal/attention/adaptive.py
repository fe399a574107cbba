"""Toroidal attention that learns its depth: candidates are mixed by a Gumbel-softmax that hardens during training."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lot import BadInput, Context, Dims, GeneratorFor
from lot.nn import CachedAttention, KeyValueCache, Neutralizable, attend as plain_attend, attention_weights, dropout_now
from lot_toroidal.attention.emitted import attention_signals
from lot_toroidal.attention.encoding import TorusEncoding, check_length, resolve_period, split_platters, split_width
from lot_toroidal.attention.fusion import fusion
from lot_toroidal.attention.plain import PlainHeads
from lot_toroidal.config import AdaptiveConfig
from lot_toroidal.ops.dispatch import attend, check_backend
from lot_toroidal.ops.torus import Torus

PACE = 10.0
"""How much faster than other parameters a layer's logits move: Adam moves each by about its learning rate per step, and a choice
needs whole units."""


class Candidate(nn.Module):
    """Toroidal attention at one depth, between projections that all depths share."""

    def __init__(self, config: AdaptiveConfig, depth: int, period: int, causal: bool, dims: Dims) -> None:
        super().__init__()
        width = split_width(dims.head_width, depth, "the head width")
        self.encoding = TorusEncoding(config, width, depth, period, "the head width")
        rank = None if config.rank is None else min(config.rank, depth)
        self.fusion = fusion(config.fusion, depth, rank, width)
        self.torus = Torus(
            period=period, depth=depth, strength=config.lambda_distance, window=config.window, causal=causal
        )

    def turn(self, x: Tensor, start: int) -> Tensor:
        """Queries or keys (B, H, T, d) from position `start` on, split and turned: (B, H, T, D, p)."""
        return self.encoding(self.split(x), start)  # type: ignore[no-any-return]

    def split(self, x: Tensor) -> Tensor:
        """(B, H, T, d) -> (B, H, T, D, p)."""
        return split_platters(x, self.torus.depth)


class AdaptiveAttention(Neutralizable, CachedAttention[KeyValueCache]):
    """sum_c w_c toroidal_c(x) over candidate depths c; w = softmax((logits + Gumbel noise) / temperature) while training.

    At evaluation w is 1 for the largest logit. The temperature falls exponentially with the optimizer step. With `route`, the
    logits of a token are a linear map of that token, and one draw of noise serves a whole sequence. Neutral is vanilla
    attention in place of all candidates: one platter, no distance, no window, the positions of the trunk, no choice.
    """

    rotary = True

    def __init__(self, config: AdaptiveConfig, dims: Dims) -> None:
        super().__init__()
        if config.min_temperature > config.temperature:
            raise BadInput(
                where="min_temperature",
                expected=f"at most temperature = {config.temperature:g}",
                got=config.min_temperature,
            )
        self.options, self.dims = config, dims
        self.causal = dims.causal if config.causal is None else config.causal
        self.heads = PlainHeads(dims)  # each candidate turns queries and keys itself
        period = resolve_period(config.period, dims.max_len)
        try:
            candidates = [Candidate(config, depth, period, self.causal, dims) for depth in config.depths]
        except BadInput as error:
            error.where = "depths" if error.where == "depth" else error.where
            raise
        self.candidates = nn.ModuleList(candidates)
        for candidate in candidates:
            check_backend(config.backend, candidate.torus, dims.dropout)
        self.router = nn.Linear(dims.width, len(candidates)) if config.route else None
        self.logits = None if config.route else nn.Parameter(torch.zeros(len(candidates)))

    def reset_parameters(self, generator_for: GeneratorFor) -> None:
        """Projections as GPT-2; all depths equally likely, but for the router's small weights."""
        self.heads.reset_parameters(lambda name: generator_for(f"heads.{name}"))
        for index, candidate in enumerate(self.candidates):
            prefix = f"candidates.{index}.fusion"
            candidate.fusion.reset_parameters(lambda name, prefix=prefix: generator_for(f"{prefix}.{name}"))  # type: ignore[union-attr, operator]
        if self.router is not None:
            nn.init.normal_(self.router.weight, std=0.02, generator=generator_for("router.weight"))
            nn.init.zeros_(self.router.bias)
        if self.logits is not None:
            nn.init.zeros_(self.logits)

    def temperature(self, step: Tensor) -> Tensor:
        """Temperature at an optimizer step: (), from `temperature` down to `min_temperature` after `anneal_steps`."""
        high, low = self.options.temperature, self.options.min_temperature
        progress = (step / self.options.anneal_steps).clamp(max=1.0)
        return high * (low / high) ** progress

    def _logits(self, x: Tensor) -> Tensor:
        """(C,), or (B, T, C) with a router; float32 or wider."""
        logits = PACE * self.logits if self.logits is not None else self.router(x)  # type: ignore[misc]
        return logits.to(torch.promote_types(logits.dtype, torch.float32))

    def _mixture(self, logits: Tensor, ctx: Context) -> Tensor:
        """Weights of the candidates, of the shape of `logits`, summing to 1 over the last dimension."""
        if not self.training:
            return nn.functional.one_hot(logits.argmax(-1), logits.shape[-1]).to(logits.dtype)
        draw = logits[:, :1] if self.router is not None else logits  # one draw a sequence, whatever its length
        noise = -torch.log(torch.empty_like(draw).exponential_().clamp(min=torch.finfo(draw.dtype).tiny))
        return torch.softmax((logits + noise) / self.temperature(ctx.step).to(logits.dtype), dim=-1)

    def _active(self, logits: Tensor) -> list[int]:
        """The candidates that have to run: one at evaluation without a router, where a compiler does not forbid to look."""
        if self.training or self.router is not None or torch.compiler.is_compiling():
            return list(range(len(self.candidates)))
        return [int(logits.argmax())]

    def forward(self, x: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        """y (B, T, D); on request attention (B, H, T, T), mixed as the output is, and depth_weights (C,), probabilities."""
        if self.is_neutral:
            return self._neutral_forward(x, ctx)
        q, k, v = self.heads.split(x)
        logits = self._logits(x)
        weights = self._mixture(logits, ctx)
        dropout = dropout_now(self, self.dims)
        y: Tensor | float = 0.0
        attention: Tensor | float = 0.0
        for index in self._active(logits):
            candidate = self._candidate(index)
            turned_q, turned_k = candidate.turn(q, ctx.start), candidate.turn(k, ctx.start)
            platters = turned_q, turned_k, candidate.split(v)
            o = self._attend(candidate, *platters, ctx.padding, self.options.backend, dropout)
            share = self._share(weights, index)
            y = y + share.to(o.dtype) * o
            if "attention" in self.want:
                found = attention_signals(turned_q, turned_k, candidate.torus, self.want, ctx.padding)
                attention = attention + share * found["attention"]
        signals = {} if isinstance(attention, float) else {"attention": attention}
        if "depth_weights" in self.want:
            signals["depth_weights"] = self._mean_choice(logits)
        return self.heads.merge(y), signals  # type: ignore[arg-type]

    def _neutral_forward(self, x: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        q, k, v = self.heads.plain(x, ctx.start, ctx.positions)
        dropout = dropout_now(self, self.dims)
        y = plain_attend(q, k, v, causal=self.causal, padding=ctx.padding, dropout=dropout)
        signals = {}
        if "attention" in self.want:
            signals["attention"] = attention_weights(q, k, causal=self.causal, padding=ctx.padding)
        if "depth_weights" in self.want:
            signals["depth_weights"] = self._mean_choice(self._logits(x))
        return self.heads.merge(y), signals

    def _mean_choice(self, logits: Tensor) -> Tensor:
        """Probabilities (C,) of the candidates, mean over tokens."""
        return logits.softmax(-1).reshape(-1, logits.shape[-1]).mean(0)

    def _share(self, weights: Tensor, index: int) -> Tensor:
        """The weight of a candidate, to be multiplied with (B, H, T, ...): () or, with a router, (B, 1, T, 1)."""
        return weights[..., index] if self.router is None else weights[:, None, :, index, None]

    def _candidate(self, index: int) -> Candidate:
        return self.candidates[index]  # type: ignore[return-value]

    def _attend(
        self,
        candidate: Candidate,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        padding: Tensor | None,
        backend: str,
        dropout: float = 0.0,
    ) -> Tensor:
        """Fused platters (B, H, Tq, d) of queries (B, H, Tq, D, p), the last of the keys' positions.

        Raises BadInput past the period.
        """
        check_length(k.shape[2], candidate.torus.period)
        o = attend(
            q, k, v, candidate.torus,
            padding=padding, dropout=dropout, backend=backend, chunk=self.options.chunk,
        )  # fmt: skip
        return candidate.fusion(o).flatten(3)  # type: ignore[no-any-return]

    def empty_cache(self, batch: int, device: torch.device | str, dtype: torch.dtype) -> KeyValueCache:
        """Keys, not yet turned, since each candidate turns them its own way, and values of no token."""
        return KeyValueCache.empty(batch, self.dims, device, dtype)

    def extend(self, x: Tensor, ctx: Context, cache: KeyValueCache) -> tuple[Tensor, KeyValueCache]:
        """y (B, n, D) of the next n tokens x (B, n, D), which join the cache."""
        if self.is_neutral:
            q, k, v = self.heads.plain(x, ctx.start, ctx.positions)
            cache.append(k, v, padding=ctx.padding)
            return self.heads.merge(cache.attend(q)), cache
        q, k, v = self.heads.split(x)
        start = cache.length
        cache.append(k, v, padding=ctx.padding)
        k, v, padding = cache.content(q.dtype)
        logits = self._logits(x)
        weights = self._mixture(logits, ctx)
        y: Tensor | float = 0.0
        for index in self._active(logits):
            candidate = self._candidate(index)
            platters = candidate.turn(q, start), candidate.turn(k, 0), candidate.split(v)
            o = self._attend(candidate, *platters, padding, "sdpa")  # as in toroidal: tiles serve every length
            y = y + self._share(weights, index).to(o.dtype) * o
        return self.heads.merge(y), cache  # type: ignore[arg-type]

    def describe(self) -> str:
        """The candidates and how the choice hardens."""
        choice = "for every token" if self.router is not None else "for the layer"
        o = self.options
        return (
            f"depths {', '.join(map(str, o.depths))}, chosen {choice}; temperature {o.temperature:g} to "
            f"{o.min_temperature:g} over {o.anneal_steps} steps, the likeliest alone at evaluation"
        )
