"""Pictures of the oscillators: phases along a sequence, and order under coupling."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

import lot
from lot.circular import chance_order, order_parameter, wrap
from lot.figure import PHASE_MAP, new_figure
from lot_docs.pictures.standard import build, tokens

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COUPLINGS = (0.0, 2.0)


def lattice() -> tuple[Figure, str]:
    """Phases of eight heads along a sequence, without and with coupling, and their order parameter."""
    dims = lot.Dims(width=64, heads=8, max_len=96, vocab_size=16)
    x = tokens(96, 64, 16, "lattice")
    figure, axes = new_figure(3, 1, size=(7.2, 6.4), sharex=True)
    for axis, coupling in zip(axes, _COUPLINGS):
        attention = build("lattice", dims, "phase", coupling=coupling, lattice_constant=2.0)
        with torch.no_grad():
            theta = attention(x, lot.Context())[1]["phase"][0]  # (H, T)
        image = axis.imshow(wrap(theta), cmap=PHASE_MAP, vmin=-math.pi, vmax=math.pi, aspect="auto")
        axis.set(ylabel="head")
        axis.set_title(f"coupling = {coupling:g}")
        axis.grid(visible=False)
        axes[2].plot(order_parameter(theta, 0), label=f"coupling = {coupling:g}")
    figure.colorbar(image, ax=axes[:2], label="phase (radians)")
    axes[2].axhline(chance_order(8), color="#4D4D4D", linestyle="--", label="random phases")
    axes[2].set(xlabel="position (tokens)", ylabel="R", ylim=(0, 1.05))
    axes[2].set_title("Order parameter of the heads")
    axes[2].legend(loc="center right")
    return figure, (
        "Phases of eight heads along 96 random tokens, at initial values. Without coupling each head turns at its own "
        "frequency; with it, neighbors pull each other into step, and the order parameter R rises above what random "
        "phases give."
    )


def phase() -> tuple[Figure, str]:
    """Order of the tokens' phases after each step of the dynamics, for several couplings."""
    dims = lot.Dims(width=32, heads=2, max_len=64, vocab_size=64)
    x = 6 * tokens(64, 32, 64, "phase")
    steps = list(range(1, 41))
    figure, (axis,) = new_figure(size=(6.4, 3.8))
    for coupling in (-1.0, 0.0, 1.0, 4.0):
        axis.plot(steps, [_order_of_tokens(dims, x, coupling, count) for count in steps], label=f"{coupling:g}")
    axis.axhline(chance_order(64), color="#4D4D4D", linestyle="--", label="random phases")
    axis.set(xlabel="steps of the dynamics (dt = 0.1)", ylabel="R over 64 tokens", ylim=(0, 1.05))
    axis.set_title("Tokens fall into phase")
    axis.legend(title="coupling K", loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure, (
        "Order parameter over 64 random tokens, mean over heads and oscillators, after each number of steps. Positive "
        "coupling pulls tokens into phase; the sign of the published code (K = -1 here) scatters them."
    )


def _order_of_tokens(dims: lot.Dims, x: Tensor, coupling: float, iterations: int) -> float:
    attention = build("phase", dims, "phase", coupling=coupling, iterations=iterations, oscillators=8)
    with torch.no_grad():
        theta = attention(x, lot.Context())[1]["phase"]  # (1, H, T, O)
    return float(order_parameter(theta, 2).mean())


def hybrid() -> tuple[Figure, str]:
    """How the output moves from the inner attention to the phase attention as the blend grows."""
    dims = lot.Dims(width=32, heads=2, max_len=48, vocab_size=16)
    x = tokens(48, 32, 16, "hybrid")
    blends = [index / 20 for index in range(21)]
    with torch.no_grad():
        outputs = [build("hybrid", dims, blend=blend)(x, lot.Context())[0].flatten() for blend in blends]
    figure, (axis,) = new_figure(size=(6.4, 3.6))
    for label, end in (("vanilla attention", outputs[0]), ("phase attention", outputs[-1])):
        axis.plot(blends, [float(torch.cosine_similarity(y, end, dim=0)) for y in outputs], label=f"with {label}")
    axis.set(xlabel="blend a (share of the phase attention)", ylabel="cosine similarity of the outputs")
    axis.set_title("Between two mechanisms")
    axis.legend()
    return figure, (
        "Cosine similarity of the hybrid's output with that of either side, at initial values. The output of the phase "
        "attention is the larger one there, so a small share of it already decides the direction."
    )
