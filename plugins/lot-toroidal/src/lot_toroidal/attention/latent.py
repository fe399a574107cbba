"""A latent state that turns on the ring: what was written s tokens ago is read turned by s. O(1) memory while streaming."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lot import BadInput, Context, Dims, GeneratorFor
from lot.nn import CachedAttention
from lot_toroidal.attention.emitted import mixing_signal
from lot_toroidal.attention.encoding import TorusEncoding, check_length, resolve_period, split_platters, split_width
from lot_toroidal.attention.fusion import fusion
from lot_toroidal.config import LatentConfig
from lot_toroidal.ops.scan import gru_scan, linear_scan


@dataclass
class LatentState:
    """The whole memory of a stream: h (B, n) float32 or wider, and how many tokens it has taken in."""

    h: Tensor
    length: int = 0


class LatentAttention(CachedAttention[LatentState]):
    """h_t = (1 - z_t) h_{t-1} + z_t R_t c(x_t), read as R_t^{-1} h_t, platters fused; R_t turns channels to position t.

    `linear`: z is learned, one for each pair of channels. `min_gru`: z_t = sigmoid(W x_t). `gru`: the published cell, whose
    state does not turn. Always causal. There are no attention weights, and so nothing for their dropout to act on.
    """

    causal = True
    rotary = True

    def __init__(self, config: LatentConfig, dims: Dims) -> None:
        super().__init__()
        self.options, self.dims = config, dims
        self.latent = dims.width if config.latent is None else config.latent
        self.period = resolve_period(config.period, dims.max_len)
        self.depth, n = config.depth, self.latent
        self.width = split_width(n, config.depth, "the state's width")
        self.encoding: TorusEncoding | None = None
        self.gate: nn.Linear | None = None
        self.hidden: nn.Linear | None = None
        self.decay: nn.Parameter | None = None
        if config.update == "gru":
            self._refuse_encoding(config)
            self.write, self.hidden = nn.Linear(dims.width, 3 * n), nn.Linear(n, 3 * n)
        else:
            self.encoding = TorusEncoding(config, self.width, config.depth, self.period, "the state's width")
            self.write = nn.Linear(dims.width, n)
            if config.update == "min_gru":
                self.gate = nn.Linear(dims.width, n // 2)
            else:
                self.decay = nn.Parameter(torch.zeros(n // 2))
        self.fusion = fusion(config.fusion, config.depth, config.rank, self.width)
        self.out = nn.Linear(n, dims.width)

    @staticmethod
    def _refuse_encoding(config: LatentConfig) -> None:
        if config.orthogonal:
            raise BadInput(where="orthogonal", expected="null with update=gru, whose state does not turn", got=True)

    def reset_parameters(self, generator_for: GeneratorFor) -> None:
        """Weights as GPT-2; gates so that memories last from one token to a whole turn of the ring, evenly by logarithm."""
        for name, linear in (("write", self.write), ("gate", self.gate), ("hidden", self.hidden)):
            if linear is not None:
                nn.init.normal_(linear.weight, std=0.02, generator=generator_for(f"{name}.weight"))
                nn.init.zeros_(linear.bias)
        std = 0.02 / math.sqrt(2 * self.dims.layers)
        nn.init.normal_(self.out.weight, std=std, generator=generator_for("out.weight"))
        nn.init.zeros_(self.out.bias)
        spans = torch.logspace(math.log10(2.0), math.log10(max(2.0, self.period)), self.latent // 2)
        with torch.no_grad():
            for parameter in (self.decay, None if self.gate is None else self.gate.bias):
                if parameter is not None:
                    parameter.copy_(torch.special.logit(1 / spans))
        self.fusion.reset_parameters(lambda name: generator_for(f"fusion.{name}"))

    def forward(self, x: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        """y (B, T, D); on request platter_mixing (D, D)."""
        o = self._read(self._states(x, ctx.start, ctx.padding, None), ctx.start)
        signals = mixing_signal(self.fusion.matrix(o), self.want) if "platter_mixing" in self.want else {}
        return self._out(o), signals

    def _states(self, x: Tensor, start: int, padding: Tensor | None, h: Tensor | None) -> Tensor:
        """States (B, T, n) float32 or wider after each token of x, from the state h (B, n) before them. Padding writes nothing."""
        B, T, _ = x.shape
        check_length(start + T, self.period)
        written = self.write(x)
        wide = torch.promote_types(written.dtype, torch.float32)
        if self.hidden is not None:
            h = torch.zeros(B, self.latent, device=x.device, dtype=wide) if h is None else h.to(wide)
            skip = torch.zeros(B, T, dtype=torch.bool, device=x.device) if padding is None else padding
            weight, bias = self.hidden.weight.to(wide), self.hidden.bias.to(wide)
            return gru_scan(written.to(wide), weight, bias, h, skip)  # type: ignore[no-any-return]
        assert self.encoding is not None
        turned = self.encoding(split_platters(written.to(wide), self.depth), start)  # (B, T, D, p)
        z = self._gates(x).to(wide)  # (B, T, n)
        if padding is not None:
            z = z.masked_fill(padding[..., None], 0.0)
        b = z * turned.flatten(2)
        if h is not None:
            b = torch.cat((b[:, :1] + (1 - z[:, :1]) * h.to(wide)[:, None], b[:, 1:]), dim=1)
        return linear_scan(1 - z, b)  # type: ignore[no-any-return]

    def _gates(self, x: Tensor) -> Tensor:
        """z (B, T, n): one value for the two channels of a pair, which turn together."""
        logit = self.gate(x) if self.gate is not None else self.decay.expand(*x.shape[:2], -1)  # type: ignore[union-attr]
        z = split_platters(torch.sigmoid(logit), self.depth)
        return torch.cat((z, z), dim=-1).flatten(2)

    def _read(self, states: Tensor, start: int) -> Tensor:
        """States (B, T, n), turned back, by platter: (B, T, D, p)."""
        platters = split_platters(states, self.depth)
        if self.encoding is None:
            return platters
        return self.encoding(platters, start, inverse=True)  # type: ignore[no-any-return]

    def _out(self, o: Tensor) -> Tensor:
        return self.out(self.fusion(o.to(self.out.weight.dtype)).flatten(2))  # type: ignore[no-any-return]

    def empty_cache(self, batch: int, device: torch.device | str, dtype: torch.dtype) -> LatentState:
        """The state before the first token, zero."""
        wide = torch.promote_types(dtype, torch.float32)
        return LatentState(torch.zeros(batch, self.latent, device=device, dtype=wide))

    def extend(self, x: Tensor, ctx: Context, cache: LatentState) -> tuple[Tensor, LatentState]:
        """y (B, n, D) of the next n tokens x (B, n, D), which the state takes in."""
        states = self._states(x, cache.length, ctx.padding, cache.h)
        y = self._out(self._read(states, cache.length))
        cache.h, cache.length = states[:, -1], cache.length + x.shape[1]
        return y, cache

    def describe(self) -> str:
        """The recurrence and how it is trained."""
        form = "one position after another" if self.options.update == "gru" else "associative scan"
        return f"{self.options.update}, state of {self.latent} in {self.depth} platters, {form}; ring of {self.period}"
