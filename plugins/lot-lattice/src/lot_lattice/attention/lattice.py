"""Lattice attention: heads are oscillators on a lattice, and tokens that are in phase attend to each other more."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lot import BadInput, Context, Dims, GeneratorFor
from lot.nn import (
    Ablatable,
    CachedAttention,
    KeyValueCache,
    Neutralizable,
    Projections,
    attend,
    attention_weights,
    dropout_now,
)
from lot_lattice.config import LatticeConfig
from lot_lattice.kernels.arguments import MOST_HEADS
from lot_lattice.kernels.dispatch import mode, say_once
from lot_lattice.ops.angles import circle, full_precision, random_phases, wide
from lot_lattice.ops.dynamics import coupling_force, lattice_scan
from lot_lattice.ops.features import Oscillators, closeness_of, neighbor_weights, phase_features
from lot_lattice.ops.geometry import neighbor_distances, resolve_shape


@dataclass
class LatticeCache:
    """What decoding carries: keys and values with their phase features, and the phases (B, H) after the last token."""

    keys: KeyValueCache
    theta: Tensor


class LatticeAttention(Ablatable, Neutralizable, CachedAttention[LatticeCache]):
    """Multi-head attention whose score rises with the phase agreement of query and key.

        score_h(q, k) = q.k / sqrt(d) + alpha_h cos(theta_h(q) - theta_h(k))

    theta_h is the phase of head h, a Kuramoto oscillator that the tokens drive and its lattice neighbors pull
    (`dynamics.lattice_scan`). As published (github.com/joshause/lot) the term is alpha cos(theta_h), equal for all
    keys, so that softmax cancels it: `score="head"` keeps that form. Neutral is alpha = 0: phases are then computed for
    signals only.
    """

    rotary = True

    def __init__(self, config: LatticeConfig, dims: Dims) -> None:
        super().__init__()
        if dims.heads > MOST_HEADS:
            raise BadInput(
                where="model.heads", expected=f"at most {MOST_HEADS}, since each head is an oscillator", got=dims.heads
            )
        mode()  # a LOT_KERNELS without meaning is an error before a run starts
        if config.score == "head":
            say_once("lattice attention: score=head, as published, has no effect: softmax cancels it; score=phase acts")
        self.config, self.dims = config, dims
        self.causal = dims.causal if config.causal is None else config.causal
        self.heads = Projections(dims)
        self.shape = resolve_shape(config.lattice_shape, dims.heads)
        if config.score == "neighbors" and dims.heads == 1:
            raise BadInput(
                where="score", expected="phase or head for a single head, which has no neighbors", got=config.score
            )
        distance, neighbor = neighbor_distances(self.shape, config.neighborhood, config.radius, config.boundary)
        # Squared, these are whole numbers: exact in any dtype that the module is moved to.
        self.register_buffer("squared_distance", distance.square().round().float(), persistent=False)
        self.register_buffer("neighbor", neighbor, persistent=False)
        H = dims.heads
        self.drive = nn.Linear(dims.width, H, bias=False)  # u: how each token pushes each head's phase
        self.frequency = nn.Parameter(torch.empty(H))  # omega, radians per unit of time
        self.coupling = nn.Parameter(torch.empty(H))  # kappa
        self.log_spacing = nn.Parameter(torch.empty(H))  # log of the lattice constant, which keeps it positive
        self.start_phase = nn.Parameter(torch.empty(H))  # theta before the first token, radians
        self.alpha = nn.Parameter(torch.empty(H))
        self.inert = _inert(config, H)

    def reset_parameters(self, generator_for: GeneratorFor) -> None:
        """Projections as GPT-2; frequencies and start phases uniform; the rest as configured."""
        self.heads.reset_parameters(lambda name: generator_for(f"heads.{name}"))
        nn.init.normal_(self.drive.weight, std=0.02, generator=generator_for("drive.weight"))
        nn.init.uniform_(self.frequency, *self.config.init_freq_range, generator=generator_for("frequency"))
        nn.init.uniform_(self.start_phase, -math.pi, math.pi, generator=generator_for("start_phase"))
        nn.init.constant_(self.coupling, self.config.coupling)
        nn.init.constant_(self.log_spacing, math.log(self.config.lattice_constant))
        nn.init.constant_(self.alpha, self.config.alpha)

    def forward(self, x: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        """y (B, T, D); on request phase, coupling_force, natural_frequency, neighbor_weights, attention."""
        q, k, v = self.heads.split(x, ctx.start, ctx.positions)
        theta, on_query, on_key = None, None, None
        if self.want or not self.is_neutral:
            with full_precision(x):
                if self._at_once(x):
                    drive = self._push(x, ctx.padding).transpose(1, 2)
                    on_query, on_key = phase_features(drive, self._oscillators(), self.config.dt, self.config.substeps)
                else:
                    theta = self.phases(x, ctx.padding)
                    on_query, on_key = (None, None) if self.is_neutral else self.score_features(theta)
        y = attend(
            q,
            k,
            v,
            causal=self.causal,
            padding=ctx.padding,
            dropout=dropout_now(self, self.dims),
            query_features=on_query,
            key_features=on_key,
        )
        signals = {} if theta is None else self._signals(theta, q, k, on_query, on_key, ctx)
        return self.heads.merge(y), signals

    def neighbor_weights(self) -> Tensor:
        """W (H, H) >= 0: W_ij = exp(-distance_ij / l_i) for neighbors j of head i, else 0. float32 or wider."""
        return neighbor_weights(self._closeness(), self.neighbor)  # type: ignore[arg-type]

    def neighbor_shares(self) -> Tensor:
        """W_ij / sum_j W_ij (H, H), also where the lattice constant is so small that all W_ij of a head round to 0."""
        return self._closeness().masked_fill(~self.neighbor, -math.inf).softmax(-1)  # type: ignore[operator]

    def _closeness(self) -> Tensor:
        """-distance_ij / l_i (H, H), float32 or wider."""
        return closeness_of(wide(self.log_spacing), self.squared_distance)  # type: ignore[arg-type]

    def phases(self, x: Tensor, padding: Tensor | None = None, before: Tensor | None = None) -> Tensor:
        """theta (B, H, T) in radians, float32 or wider: the phase of each head after each token of x (B, T, D).

        before: (B, H) phases before the first token; default `start_phase`. Padding (B, T) does not drive the phases.
        """
        c = self.config
        push = self._push(x, padding)
        B, T, H = push.shape
        if self.scrambler is not None:
            return random_phases(push.transpose(1, 2), self.scrambler)
        parameters = (self.frequency, self.coupling, self.start_phase, self.neighbor_weights())
        omega, coupling, start, weights = (tensor.to(push.dtype) for tensor in parameters)
        if c.dynamics == "relax":
            # Every token is a sequence of its own, of one long step cut into substeps.
            own = (start + push).flatten(0, 1)  # (B T, H)
            still = torch.zeros_like(own)[..., None]
            theta = lattice_scan(still, omega, coupling, weights, own, c.dt * c.steps, c.steps * c.substeps)
            return theta.view(B, T, H).transpose(1, 2)
        before = start if before is None else before
        return lattice_scan(push.transpose(1, 2), omega, coupling, weights, before, c.dt, c.substeps)

    def _push(self, x: Tensor, padding: Tensor | None) -> Tensor:
        """How tokens drive phases, (B, T, H) in float32 or wider."""
        wide_x = wide(x)
        push = F.linear(wide_x, self.drive.weight.to(wide_x.dtype))
        return push if padding is None else push.masked_fill(padding[..., None], 0.0)

    def _oscillators(self) -> Oscillators:
        parameters = (self.frequency, self.coupling, self.log_spacing, self.start_phase, self.alpha)
        return Oscillators(*parameters, self.squared_distance, self.neighbor)  # type: ignore[arg-type]

    def _at_once(self, x: Tensor) -> bool:
        """Whether phases and features are one step of autograd: in the form that is trained, when nobody asks for phases."""
        c = self.config
        if c.dynamics != "scan" or c.score != "phase" or self.want or self.is_neutral or self.scrambler is not None:
            return False
        return not torch.compiler.is_compiling() and wide(x).dtype == self.alpha.dtype

    def score_features(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, H, T, e) of queries and keys whose dot product joins the score."""
        alpha = self.alpha.to(theta.dtype)[:, None, None]
        if self.config.score == "head":
            on_query = alpha * theta.cos()[..., None]
            return on_query, torch.ones_like(on_query)
        points = circle(theta)  # (B, H, T, 2)
        if self.config.score == "neighbors":
            share = self.neighbor_shares().to(theta.dtype)
            return alpha * points, torch.einsum("hj,bjtc->bhtc", share, points)
        return alpha * points, points

    def _signals(
        self, theta: Tensor, q: Tensor, k: Tensor, on_query: Tensor | None, on_key: Tensor | None, ctx: Context
    ) -> dict[str, Tensor]:
        signals = {}
        with full_precision(theta):
            if "phase" in self.want:
                signals["phase"] = theta
            if "natural_frequency" in self.want:
                signals["natural_frequency"] = self.frequency
            if "neighbor_weights" in self.want:
                signals["neighbor_weights"] = self.neighbor_weights()
            if "coupling_force" in self.want:
                weights = self.neighbor_weights().to(theta.dtype)
                signals["coupling_force"] = coupling_force(theta, self.coupling.to(theta.dtype), weights)
            if "attention" in self.want:
                signals["attention"] = attention_weights(
                    q, k, causal=self.causal, padding=ctx.padding, query_features=on_query, key_features=on_key
                )
        return signals

    def empty_cache(self, batch: int, device: torch.device | str, dtype: torch.dtype) -> LatticeCache:
        """Keys and values of no token, and phases (B, H) at `start_phase`."""
        features = 0 if self.is_neutral else 1 if self.config.score == "head" else 2
        theta = wide(self.start_phase.detach().to(device)).expand(batch, -1)
        return LatticeCache(KeyValueCache.empty(batch, self.dims, device, dtype, features), theta)

    def extend(self, x: Tensor, ctx: Context, cache: LatticeCache) -> tuple[Tensor, LatticeCache]:
        """y (B, n, D) of the next n tokens x (B, n, D), which join the cache."""
        q, k, v = self.heads.split(x, ctx.start, ctx.positions)
        if self.is_neutral:
            cache.keys.append(k, v, padding=ctx.padding)
            return self.heads.merge(cache.keys.attend(q)), cache
        with full_precision(x):
            theta = self.phases(x, ctx.padding, before=cache.theta)
            on_query, on_key = self.score_features(theta)
        cache.keys.append(k, v, on_key, ctx.padding)
        y = cache.keys.attend(q, query_features=on_query)
        return self.heads.merge(y), LatticeCache(cache.keys, theta[..., -1])


def _inert(config: LatticeConfig, heads: int) -> frozenset[str]:
    """Names of parameters that cannot act, whatever their value."""
    if config.score == "head":
        # One number for all keys of a query: softmax is invariant to it, and nothing else reads the phases.
        return frozenset({"alpha", "coupling", "frequency", "log_spacing", "start_phase", "drive.weight"})
    if heads > 1:
        return frozenset()
    # A single head has no neighbors, and an offset common to all its phases cancels in every difference.
    lonely = {"coupling", "log_spacing", "start_phase"}
    if config.dynamics == "relax":
        lonely.add("frequency")  # without neighbors it turns every token by the same angle
    return frozenset(lonely)
