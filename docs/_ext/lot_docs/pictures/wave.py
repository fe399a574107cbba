"""Pictures of waves: fringes, kernels, packets, the optimizer's projection, the phase lock."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

import lot
from lot.figure import SEQUENTIAL_MAP, new_figure
from lot.random import torch_generator
from lot_docs.pictures.standard import build, tokens

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def interference() -> tuple[Figure, str]:
    """Weights between equal tokens: fringes over distance, by either evolution of the phases."""
    dims = lot.Dims(width=32, heads=1, max_len=64, vocab_size=8)
    x = 8 * tokens(1, 32, 1, "interference").expand(1, 64, 32)
    figure, axes = new_figure(1, 2, size=(7.8, 3.5))
    for axis, evolution in zip(axes, ("evolved", "pairwise")):
        attention = build("interference", dims, "attention", evolution=evolution, own_keys=True, waves=2, causal=False)
        with torch.no_grad():
            weights = attention(x, lot.Context())[1]["attention"][0, 0] * 64
        image = axis.imshow(weights, cmap=SEQUENTIAL_MAP)
        axis.set(xlabel="position of the key (tokens)", ylabel="position of the query (tokens)")
        axis.set_title(f"evolution = {evolution}")
        axis.grid(visible=False)
        figure.colorbar(image, ax=axis, label="weight / mean weight")
    return figure, (
        "Weights between 64 equal tokens with two waves and keys of their own, without a causal mask: all that is left "
        "is interference. With `pairwise`, weights depend on the distance only; with `evolved`, also on the positions."
    )


def pure_wave() -> tuple[Figure, str]:
    """Weights of the last query over distance, for the three kernels."""
    dims = lot.Dims(width=32, heads=1, max_len=64, vocab_size=8)
    x = 8 * tokens(1, 32, 1, "pure_wave").expand(1, 64, 32)
    figure, axes = new_figure(1, 2, size=(7.8, 3.5), sharey=True)
    for axis, place in zip(axes, ("features", "scores")):
        for kernel in ("elu_plus_one", "sigmoid", "exp"):
            attention = build("pure_wave", dims, "attention", kernel=kernel, kernel_on=place, waves=4)
            with torch.no_grad():
                weights = attention(x, lot.Context())[1]["attention"][0, 0, -1]
            axis.plot(range(63, -1, -1), weights * 64, label=kernel)
        axis.set(xlabel="distance to the key (tokens)")
        axis.set_title(f"kernel_on = {place}")
    axes[0].set(ylabel="weight / mean weight")
    axes[1].legend(title="kernel")
    return figure, (
        "Weights of the last of 64 equal tokens with four waves, by distance to the key. The kernel acts on features or "
        "on scores; these are two models, and their weights differ."
    )


def wave_packet() -> tuple[Figure, str]:
    """One wave with its harmonics of a common and of a rare token, along positions."""
    dims = lot.Dims(width=32, heads=1, max_len=128, vocab_size=256)
    embedding = lot.registry().get("embedding", "wave_packet").build(dims, waves=1, harmonics=4)
    figure, axes = new_figure(3, 1, size=(7.0, 5.4), sharex=True, sharey=True)
    for axis, rank in zip(axes, (0, 15, 255)):
        with torch.no_grad():
            features = embedding.features(torch.full((1, 128), rank))[0].view(
                128, 4, 2
            )  # positions, harmonics, cos sin
        axis.plot(features[..., 0].sum(-1))
        turns = float(embedding.frequency[rank]) * 128 / (2 * math.pi)
        axis.set_title(f"rank {rank}: {turns:.2f} turns over 128 positions")
    axes[1].set(ylabel="sum of the harmonics' cosines (unit norm)")
    axes[2].set(xlabel="position (tokens)")
    return figure, (
        "One wave with four harmonics, as the embedding of three tokens along 128 positions. The rarer a token, the "
        "faster its wave; by default that of the rarest turns once over the longest sequence."
    )


def wave_native() -> tuple[Figure, str]:
    """Loss of a small regression under three settings of the optimizer."""
    settings: dict[str, dict[str, Any]] = {
        "rank = null (published)": {"rank": None},
        "no projection (coherence_weight = 0)": {"rank": None, "coherence_weight": 0.0},
        "rank = 2": {"rank": 2},
    }
    figure, (axis,) = new_figure(size=(6.8, 3.8))
    for (label, options), style in zip(settings.items(), ("-", "--", "-")):
        axis.semilogy(_regression(options), linestyle=style, label=label)
    axis.set(xlabel="optimizer step", ylabel="mean squared error")
    axis.set_title("A square matrix of full rank")
    axis.legend()
    return figure, (
        "A linear map of 16 channels learns another one. The published projection on all singular subspaces equals plain "
        "momentum: the two curves lie on each other. Projection on two subspaces is a constraint that acts."
    )


def _regression(options: dict[str, Any]) -> list[float]:
    """Mean squared error before each of 150 steps on a linear map of 16 channels."""
    generator = torch_generator(0, "docs", "wave_native")
    model = nn.Linear(16, 16, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.randn(16, 16, generator=generator) / 4)
    x, goal = torch.randn(256, 16, generator=generator), torch.randn(16, 16, generator=generator) / 4
    component = lot.registry().get("optimizer", "wave_native")
    optimizer = component.build(model, lr=0.05, weight_decay=0.0, **options)
    losses = []
    for _ in range(150):
        loss = (model(x) - x @ goal.T).square().mean()
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return losses


def wave_coherence() -> tuple[Figure, str]:
    """The phase lock of a stream whose phases agree, for every direction in which they point."""
    noise = 0.3 * torch.randn(1, 8, generator=torch_generator(0, "docs", "wave_coherence"))
    directions = torch.linspace(-math.pi, math.pi, 121)
    figure, (axis,) = new_figure(size=(6.4, 3.6))
    for variance in ("angle", "circular"):
        loss = (
            lot.registry()
            .get("loss", "wave_coherence")
            .build(variance=variance, lambda_phase=1.0, lambda_energy=0.0, lambda_harmonic=0.0)
        )
        axis.plot(directions, [_phase_lock(loss, noise + direction) for direction in directions], label=variance)
    axis.set(xlabel="mean phase (radians)", ylabel="phase lock (rad² or 1)", ylim=(-0.2, None))
    axis.set_title("Equal agreement, different direction")
    axis.legend(title="variance")
    return figure, (
        "Phase lock of eight positions whose phases differ by about 0.3 radians, as their mean turns round the circle. The "
        "variance of the wrapped angle, as published, jumps near ±π, although the phases agree as well as before; the "
        "circular variance, 1 - R, does not."
    )


def _phase_lock(loss: lot.Loss, phase: torch.Tensor) -> float:
    """The term for a residual stream with `phase` (1, 8), in radians, in its one frequency."""
    spectrum = torch.ones(1, 1, 8, 2, dtype=torch.complex64)  # the constant part has no phase that could differ
    spectrum[0, ..., 1] = torch.polar(torch.ones_like(phase), phase)
    hidden = torch.fft.irfft(spectrum, n=3, dim=-1)  # (1, 1, 8, 3)
    output = lot.Output(torch.zeros(1, 8, 2), {"hidden": hidden})
    targets = torch.zeros(1, 8, dtype=torch.int64)
    return float(loss(output, lot.Batch(targets, targets), lot.Context())["phase_lock"])
