"""Pictures of the torus: its distance, its blocks, its lags, its state, its depths."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

import lot
from lot.figure import SEQUENTIAL_MAP, new_figure
from lot.random import isolated
from lot_docs.pictures.standard import build, tokens

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def toroidal() -> tuple[Figure, str]:
    """The distance on the ring, read off the weights of an attention whose queries and keys are zero."""
    by_strength = {strength: _weights_by_distance(strength) for strength in (0.1, 2.0, 8.0)}
    figure, axes = new_figure(1, 2, size=(7.8, 3.5))
    sharpest = by_strength[8.0]
    image = axes[0].imshow(-(sharpest / sharpest.max()).log() / 8.0, cmap=SEQUENTIAL_MAP)
    axes[0].set(xlabel="position j (tokens)", ylabel="position i (tokens)")
    axes[0].set_title("Distance on a ring of 32")
    axes[0].grid(visible=False)
    figure.colorbar(image, ax=axes[0], label="distance (turns of the ring)")
    for strength, weights in by_strength.items():
        axes[1].plot(weights[0], label=f"{strength:g}")
    axes[1].set(xlabel="position j (tokens)", ylabel="weight", ylim=(0, None))
    axes[1].set_title("Weights seen from position 0")
    axes[1].legend(title="lambda_distance", loc="upper center")
    return figure, (
        "Left: the distance of positions on a ring of 32, read off the attention weights of a module whose queries and "
        "keys are zero, without a causal mask. Right: those weights, seen from position 0, for three strengths; the "
        "last position is as near as the next one."
    )


def _weights_by_distance(strength: float) -> Tensor:
    """Attention (T, T) of a module that sees nothing but the distance."""
    dims = lot.Dims(width=16, heads=1, max_len=32, vocab_size=8)
    attention = build("toroidal", dims, "attention", lambda_distance=strength, causal=False, backend="sdpa")
    with torch.no_grad():
        for parameter in attention.parameters():
            parameter.zero_()
        weights: Tensor = attention(torch.zeros(1, 32, 16), lot.Context())[1]["attention"][0, 0]
    return weights


def ring() -> tuple[Figure, str]:
    """The largest difference between attention in blocks and dense attention."""
    dims = lot.Dims(width=64, heads=4, max_len=128, vocab_size=16)
    x = tokens(128, 64, 16, "ring")
    dense = build("toroidal", dims)
    blocks = [128, 64, 32, 16, 8]
    errors = []
    with torch.no_grad():
        expected = dense(x, lot.Context())[0]
        for block in blocks:
            spread = build("toroidal_ring", dims, block=block)
            spread.load_state_dict(dense.state_dict())
            difference = (spread(x, lot.Context())[0] - expected).abs().max()
            errors.append(float(difference / expected.abs().max()))
    figure, (axis,) = new_figure(size=(6.4, 3.6))
    axis.semilogy([128 // block for block in blocks], errors, marker="o", label="toroidal_ring")
    axis.axhline(torch.finfo(torch.float32).eps, color="#4D4D4D", linestyle="--", label="rounding of float32")
    axis.set_xscale("log", base=2)
    axis.set_xticks([128 // block for block in blocks], [str(128 // block) for block in blocks])
    axis.set(xlabel="blocks that 128 positions are cut into", ylabel="largest relative error", ylim=(1e-8, 1))
    axis.set_title("Blocks against dense attention")
    axis.legend()
    return figure, (
        "Largest difference between the output in blocks and that of dense toroidal attention, relative to the largest "
        "output (float32). The merge by log-sum-exp is exact up to rounding, whatever the number of blocks."
    )


def fft() -> tuple[Figure, str]:
    """Weights of circulant attention: they depend on the lag only."""
    dims = lot.Dims(width=32, heads=1, max_len=48, vocab_size=8)
    x = tokens(48, 32, 8, "fft")
    figure, axes = new_figure(1, 2, size=(7.8, 3.5))
    for axis, causal in zip(axes, (False, True)):
        attention = build("toroidal_fft", dims, "attention", causal=causal, lambda_distance=4.0)
        with torch.no_grad():
            weights = attention(x, lot.Context())[1]["attention"][0, 0]
        image = axis.imshow(weights, cmap=SEQUENTIAL_MAP, vmin=0, vmax=float(weights[-1].max()) * 1.5)
        axis.set(xlabel="position of the key (tokens)", ylabel="position of the query (tokens)")
        axis.set_title("Causal" if causal else "Round the ring")
        axis.grid(visible=False)
        figure.colorbar(image, ax=axis, label="weight")
    return figure, (
        "Initial weights with lags = position and lambda_distance = 4. A score is a function of the lag, so each "
        "diagonal has one score, and the product with the values is a convolution. With a causal mask each row is "
        "normalized over the positions so far."
    )


def latent() -> tuple[Figure, str]:
    """How long a change of one token is felt, for the three updates of the state."""
    dims = lot.Dims(width=32, heads=2, max_len=96, vocab_size=16)
    x = 20 * tokens(96, 32, 16, "latent")
    changed = x.clone()
    changed[:, 16] = -changed[:, 16]
    figure, (axis,) = new_figure(size=(6.4, 3.6))
    for update in ("linear", "min_gru", "gru"):
        attention = build("toroidal_latent", dims, update=update)
        with torch.no_grad():
            felt = (attention(changed, lot.Context())[0] - attention(x, lot.Context())[0]).norm(dim=-1)[0]
        axis.semilogy(torch.where(felt > 0, felt / felt[16], torch.nan), label=update)
    axis.set(xlabel="position (tokens)", ylabel="change of the output (1 at the token)", ylim=(1e-6, 3))
    axis.set_title("Memory of token 16")
    axis.legend(title="update")
    return figure, (
        "Token 16 of 96 is replaced; the curves show how much the output differs at each position, relative to "
        "position 16, at initial values. Before the token the difference is exactly zero; after it, the state forgets "
        "at the rate that its update gives it."
    )


def adaptive() -> tuple[Figure, str]:
    """The probabilities of three depths while a module learns which of them another one has."""
    depths, chosen = (1, 2, 4), 2
    dims = lot.Dims(width=32, heads=2, max_len=16, vocab_size=16)
    x = 10 * tokens(16, 32, 16, "adaptive")
    teacher, pupil = (build("toroidal_adaptive", dims, "depth_weights", depths=depths) for _ in range(2))
    with torch.no_grad():
        dict(teacher.named_parameters())["logits"][chosen] = 1.0
        goal = teacher(x, lot.Context())[0]
    optimizer = torch.optim.Adam([dict(pupil.train().named_parameters())["logits"]], lr=0.005)
    found = []
    with isolated(0, "docs", "adaptive"):
        for step in range(120):
            y, signals = pupil(x, lot.Context(step=torch.tensor(step)))
            found.append(signals["depth_weights"].detach())
            optimizer.zero_grad()
            ((y - goal) / goal.std()).square().mean().backward()
            optimizer.step()
    figure, (axis,) = new_figure(size=(6.8, 3.6))
    for index, depth in enumerate(depths):
        axis.plot([float(weights[index]) for weights in found], label=f"{depth}")
    axis.set(xlabel="optimizer step", ylabel="probability of a depth", ylim=(-0.02, 1.02))
    axis.set_title("Learning the number of platters")
    axis.legend(title="platters", loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure, (
        "A module with three candidate depths learns to give the output of one with four platters and the same weights; "
        "only the logits of the depths are trained, with "
        "a fresh draw of Gumbel noise at each step."
    )
