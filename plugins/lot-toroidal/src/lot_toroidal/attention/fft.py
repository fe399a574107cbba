"""Circulant attention: scores depend on the lag only, so that attention is a convolution on the ring."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lot import BadInput, Context, Dims, GeneratorFor
from lot.nn import CachedAttention, Neutralizable, attend
from lot_toroidal.attention.emitted import mixing_signal, neutral_signals
from lot_toroidal.attention.encoding import check_length
from lot_toroidal.attention.fusion import fusion
from lot_toroidal.attention.toroidal import TorusHeads
from lot_toroidal.config import FFTConfig
from lot_toroidal.ops.circulant import causal_convolve, convolve, correlate_ring
from lot_toroidal.ops.reference import dense_attention
from lot_toroidal.ops.torus import Torus


@dataclass
class ValueCache:
    """Values of the tokens so far: v (B, H, capacity, D, p), padding (B, capacity) bool; `length` are filled.

    score: by lag, float64 (1, H, D, D, lags), which depends on parameters alone; None until the first step.
    """

    v: Tensor
    padding: Tensor
    length: int = 0
    score: Tensor | None = None


class FFTAttention(Neutralizable, CachedAttention[ValueCache]):
    """weight of key (j, l) for query (i, k) = exp(s[k, l, i - j]) / sum, with one score per lag for the whole sequence.

    lags=position: s = q_k . k_l turned by the lag / sqrt(p) - lambda delta, with q_k and k_l learned (H, D, p): toroidal
    attention whose queries and keys are the same for every token. lags=content: the mean of q_i . k_j / sqrt(p) over
    all pairs (i, j) at that lag, - lambda delta; neutral is vanilla attention with these queries and keys.
    """

    rotary = True

    def __init__(self, config: FFTConfig, dims: Dims) -> None:
        super().__init__()
        self.options, self.dims = config, dims
        self.causal = dims.causal if config.causal is None else config.causal
        self._check()
        self.heads = TorusHeads(config, config.depth, dims)
        self.query: nn.Parameter | None = None
        self.key: nn.Parameter | None = None
        if config.lags == "position":
            shape = (dims.heads, config.depth, self.heads.width)
            self.query, self.key = nn.Parameter(torch.zeros(shape)), nn.Parameter(torch.zeros(shape))
            self.heads.qkv = nn.Linear(dims.width, dims.width)  # values only
        self.fusion = fusion(config.fusion, config.depth, config.rank, self.heads.width)
        self.torus = Torus(
            period=self.heads.period, depth=config.depth, strength=config.lambda_distance, causal=self.causal
        )

    def _check(self) -> None:
        if self.options.frequencies != "integer":
            raise BadInput(
                where="frequencies",
                expected="integer (a circulant repeats after one turn of the ring)",
                got=self.options.frequencies,
            )
        if self.options.lags == "content" and self.causal:
            raise BadInput(
                where="lags",
                expected="position on a causal task (the mean score at a lag is over all tokens, later ones too)",
                got="content",
                fix="or set causal=false",
            )
        if self.dims.dropout:
            raise BadInput(
                where="model.dropout",
                expected="0 with toroidal_fft, whose weights are never formed",
                got=self.dims.dropout,
            )

    def reset_parameters(self, generator_for: GeneratorFor) -> None:
        """Projections as GPT-2, learned queries and keys from N(0, 1), which gives scores of size one."""
        self.heads.reset_parameters(lambda name: generator_for(f"heads.{name}"))
        self.fusion.reset_parameters(lambda name: generator_for(f"fusion.{name}"))
        for name, parameter in (("query", self.query), ("key", self.key)):
            if parameter is not None:
                nn.init.normal_(parameter, generator=generator_for(name))

    def forward(self, x: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        """y (B, T, D); on request attention (B, H, T, T) and platter_mixing (D, D)."""
        if self.is_neutral:
            q, k, v = self.heads.plain(x, ctx.start, ctx.positions)
            y = attend(q, k, v, causal=self.causal, padding=ctx.padding)
            return self.heads.merge(y), neutral_signals(q, k, self.torus, self.want, ctx.padding)
        v, score = self._values_and_scores(x, ctx)
        w = _exponentials(score)
        o = self._mix(w, v, ctx.padding)
        signals = {}
        if "attention" in self.want:
            signals["attention"] = self._attention(w, x.shape[0], x.shape[1], ctx.padding)
        if "platter_mixing" in self.want:
            signals |= mixing_signal(self.fusion.matrix(o), self.want)
        return self.heads.unite(self.fusion(o)), signals

    @contextlib.contextmanager
    def neutral(self) -> Iterator[None]:
        """As `lot.nn.Neutralizable.neutral`. Raises BadInput for lags=position, which has no queries and keys of tokens."""
        if self.query is not None:
            raise BadInput("toroidal_fft with lags=position has no neutral form: it has no queries and keys of tokens")
        with super().neutral():
            yield

    def dense(self, x: Tensor, ctx: Context) -> Tensor:
        """y (B, T, D) of toroidal attention with the same projections and no averaging, stored in full: what this stands for."""
        if self.query is None or self.key is None:
            q, k, v = self.heads.platters(x, ctx.start)
        else:
            v = self._values(x, ctx.start)
            q, k = (
                self.heads.encoding(part[:, None].expand(-1, x.shape[1], -1, -1)).expand(x.shape[0], -1, -1, -1, -1)
                for part in (self.query, self.key)
            )
        o = dense_attention(q, k, v, self.torus, padding=ctx.padding)
        return self.heads.unite(self.fusion(o))

    def describe(self) -> str:
        """What a score is made of, and what it costs."""
        cost = "O(T log^2 T), past into future only" if self.causal else "O(N log N)"
        return f"lags by {self.options.lags}, FFT in float64, {cost}; ring of {self.torus.period}, depth {self.torus.depth}"

    def _values_and_scores(self, x: Tensor, ctx: Context) -> tuple[Tensor, Tensor]:
        """v (B, H, T, D, p), and scores by lag i - j: float64 (B or 1, H, D, D, T if causal else N)."""
        if self.query is None or self.key is None:
            q, k, v = self.heads.platters(x, ctx.start)
            score = correlate_ring(q, k, self.torus.period, ctx.padding) / math.sqrt(self.heads.width)
        else:
            v = self._values(x, ctx.start)
            return v, self._positional(x.shape[1] if self.causal else self.torus.period)
        return v, score + self._bias(score.shape[-1])

    def _values(self, x: Tensor, start: int) -> Tensor:
        """v (B, H, T, D, p). Raises BadInput past the period."""
        B, T, _ = x.shape
        check_length(start + T, self.torus.period)
        return self.heads.qkv(x).view(B, T, self.dims.heads, *self.query.shape[1:]).transpose(1, 2)  # type: ignore[union-attr, no-any-return]

    def _positional(self, lags: int) -> Tensor:
        """Scores of lags 0 to `lags` - 1: the learned query at each place against the key at place 0; (1, H, D, D, lags)."""
        assert self.query is not None
        assert self.key is not None
        q = self.heads.encoding(self.query[:, None].expand(-1, lags, -1, -1)).double()  # (H, lags, D, p)
        k = self.heads.encoding(self.key[:, None]).double()[:, 0]  # (H, D, p)
        score = torch.einsum("htkp,hlp->hklt", q, k)[None]
        return score / math.sqrt(self.heads.width) + self._bias(lags)

    def _bias(self, lags: int) -> Tensor:
        """-lambda delta by platters and lag i - j: (D, D, lags) float64."""
        table = self.torus.bias(1 - lags, 0, self.heads.out.weight.device, torch.float64)  # (D, lags, D) by j - i
        return table.flip(1).transpose(1, 2)

    def _mix(self, w: Tensor, v: Tensor, padding: Tensor | None) -> Tensor:
        """w normalized over visible keys, times v: (B, H, T, D, p) in the dtype of v. A padded position sees itself too."""
        extended = torch.cat((v, torch.ones_like(v[..., :1])), dim=-1).double()  # the last channel sums the weights
        hidden = None
        if padding is not None:
            hidden = extended * padding[:, None, :, None, None]
            extended = extended - hidden
        o = causal_convolve(w[0], extended) if self.causal else convolve(w, extended)
        if hidden is not None:
            o = o + torch.einsum("bhkl,bhtlp->bhtkp", w[..., 0].expand(v.shape[0], -1, -1, -1), hidden)
        return (o[..., :-1] / o[..., -1:]).to(v.dtype)

    def _attention(self, w: Tensor, B: int, T: int, padding: Tensor | None) -> Tensor:
        """The weights in full, (B, H, T, T), platters averaged; memory for one example's at a time."""
        distinct = B if padding is not None or w.shape[0] > 1 else 1
        found = []
        for b in range(distinct):
            weights = self._rows(w[min(b, w.shape[0] - 1)], 0, T, None if padding is None else padding[b])
            found.append(weights.mean(1).sum(1))
        return torch.stack(found).expand(B, -1, -1, -1).to(self.heads.out.weight.dtype)

    def _rows(self, w: Tensor, start: int, T: int, padding: Tensor | None) -> Tensor:
        """Normalized weights of queries `start` to T - 1 over keys 0 to T - 1: w (H, D, D, lags) -> (H, D, D, T - start, T)."""
        i, j = torch.arange(start, T, device=w.device)[:, None], torch.arange(T, device=w.device)
        seen = (j <= i) if self.causal else torch.ones_like(j <= i)
        if padding is not None:
            seen = seen & ~padding | (i == j)
        rows = torch.where(seen, w[..., (i - j) % w.shape[-1]], 0.0)
        return rows / rows.sum((2, 4), keepdim=True)

    def empty_cache(self, batch: int, device: torch.device | str, dtype: torch.dtype) -> ValueCache:
        """Values of no token."""
        H, D, p = self.dims.heads, self.torus.depth, self.heads.width
        v = torch.zeros(batch, H, self.dims.max_len, D, p, device=device, dtype=dtype)
        return ValueCache(v, torch.zeros(batch, self.dims.max_len, dtype=torch.bool, device=device))

    def extend(self, x: Tensor, ctx: Context, cache: ValueCache) -> tuple[Tensor, ValueCache]:
        """y (B, n, D) of the next n tokens x (B, n, D), which join the cache."""
        start, stop = cache.length, cache.length + x.shape[1]
        if stop > cache.v.shape[2]:
            raise BadInput(f"the decoding cache holds {cache.v.shape[2]} tokens; {stop} were given")
        cache.v[:, :, start:stop] = self._values(x, start).to(cache.v.dtype)
        if ctx.padding is not None:
            cache.padding[:, start:stop] = ctx.padding
        cache.length = stop
        if cache.score is None or torch.is_grad_enabled():  # a kept score has no gradient
            lags = stop if torch.is_grad_enabled() else min(cache.v.shape[2], self.torus.period)
            cache.score = self._positional(lags)
        w = _exponentials(cache.score[..., :stop])[0]
        padded = bool(cache.padding.any())
        rows = torch.stack([
            self._rows(w, start, stop, cache.padding[b, :stop] if padded else None)
            for b in range(x.shape[0] if padded else 1)
        ]).expand(x.shape[0], -1, -1, -1, -1, -1)  # (B, H, D, D, n, T)  # fmt: skip
        o = torch.einsum("bhklij,bhjlp->bhikp", rows, cache.v[:, :, :stop].double()).to(x.dtype)
        return self.heads.unite(self.fusion(o)), cache


def _exponentials(score: Tensor) -> Tensor:
    """exp of scores (..., D, D, lags), over the largest of each query platter, which softmax would cancel."""
    return torch.exp(score - score.detach().amax((-2, -1), keepdim=True))
