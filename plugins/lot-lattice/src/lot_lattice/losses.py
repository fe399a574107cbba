"""Losses on phases and natural frequencies.

Each is a mean over layers and tokens, so that a weight means the same in models of any size.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lot import Batch, Context, Loss, NoOptions, Output
from lot_lattice.config import CoherenceConfig, PhaseRegularizationConfig
from lot_lattice.ops.synchrony import by_layer, order, token_mean


class Sync(Loss):
    """1 - R: pulls the phases of a token together."""

    needs = frozenset({"phase"})

    def __init__(self, config: NoOptions) -> None:
        pass

    def __call__(self, output: Output, batch: Batch, ctx: Context) -> dict[str, Tensor]:
        """The term `sync`, in [0, 1]."""
        layers = [1 - token_mean(order(theta), batch.padding) for theta in by_layer(output, "phase").values()]
        return {"sync": torch.stack(layers).mean()}


class Diversity(Loss):
    """exp(-var omega): pushes the natural frequencies of a layer apart."""

    needs = frozenset({"natural_frequency"})

    def __init__(self, config: NoOptions) -> None:
        pass

    def __call__(self, output: Output, batch: Batch, ctx: Context) -> dict[str, Tensor]:
        """The term `diversity`, in (0, 1]."""
        layers = [torch.exp(-omega.var(correction=0)) for omega in by_layer(output, "natural_frequency").values()]
        return {"diversity": torch.stack(layers).mean()}


class PhaseRegularization(Loss):
    """(R - target)^2 at every token: pulls each token's synchronization to the target."""

    needs = frozenset({"phase"})

    def __init__(self, config: PhaseRegularizationConfig) -> None:
        self.target = config.target

    def __call__(self, output: Output, batch: Batch, ctx: Context) -> dict[str, Tensor]:
        """The term `phase_regularization`."""
        layers = [
            token_mean((order(theta) - self.target).square(), batch.padding)
            for theta in by_layer(output, "phase").values()
        ]
        return {"phase_regularization": torch.stack(layers).mean()}


class Coherence(Loss):
    """Keeps the mean R of each layer below a ceiling, at a target, or within a band: the squared distance beyond it.

    Unlike `phase_regularization` it lets tokens differ, as long as their mean is right.
    """

    needs = frozenset({"phase"})

    def __init__(self, config: CoherenceConfig) -> None:
        self.config = config

    def __call__(self, output: Output, batch: Batch, ctx: Context) -> dict[str, Tensor]:
        """The term `coherence`."""
        means = [token_mean(order(theta), batch.padding) for theta in by_layer(output, "phase").values()]
        away = torch.stack(means) - self.config.r_target
        if self.config.mode == "ceiling":
            away = away.clamp(min=0)
        elif self.config.mode == "band":
            away = (away.abs() - self.config.r_width).clamp(min=0)
        return {"coherence": away.square().mean()}


class SpatialCoherence(Loss):
    """Mean of 1 - cos(theta_i - theta_j) over neighbors, weighted as they are coupled: smooths the lattice's waves."""

    needs = frozenset({"phase", "neighbor_weights"})

    def __init__(self, config: NoOptions) -> None:
        pass

    def __call__(self, output: Output, batch: Batch, ctx: Context) -> dict[str, Tensor]:
        """The term `spatial_coherence`, in [0, 2]; layers whose heads are not on a lattice do not count."""
        phases = by_layer(output, "phase")
        layers = []
        for layer, weights in by_layer(output, "neighbor_weights").items():
            sin, cos = phases[layer].sin(), phases[layer].cos()  # (B, H, T) or (B, H, T, O)
            felt_sin, felt_cos = (torch.einsum("ij,bj...->bi...", weights, each) for each in (sin, cos))
            agreement = (cos * felt_cos + sin * felt_sin).sum(1)
            agreement = agreement if agreement.dim() == 2 else agreement.mean(-1)  # (B, T)
            # A single head has no neighbors: 0 / 0 is no disagreement.
            disagreement = (weights.sum() - agreement) / weights.sum().clamp(min=torch.finfo(weights.dtype).tiny)
            layers.append(token_mean(disagreement, batch.padding))
        return {"spatial_coherence": torch.stack(layers).mean()}
