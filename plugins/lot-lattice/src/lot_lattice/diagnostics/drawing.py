"""What the pictures of this package share: heat maps of phases, and lattices with phase vectors."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from lot.figure import PHASE_MAP

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TURN = 2 * math.pi
MOST_LAYERS = 4
"""Layers that a picture shows, a row each: the first, the last, and those evenly between."""


def layers_of(values: dict[str, Tensor], name: str) -> list[int]:
    """The layers for which `name_LAYER` was measured, in order of depth."""
    parts = [key.rpartition("_") for key in values]
    return sorted(int(number) for stem, _, number in parts if stem == name and number.isdigit())


def head_map(axes: Axes, rows: Tensor, *, x: tuple[float, float], **style: Any) -> Any:
    """A heat map of rows (H, T), head 0 on top; x: the positions of the first and the last column. The image."""
    H = rows.shape[0]
    image = axes.imshow(
        rows.numpy(),
        aspect="auto",
        interpolation="nearest",
        extent=(x[0] - 0.5, x[1] + 0.5, H - 0.5, -0.5),
        **style,
    )
    axes.grid(visible=False)
    ticks = list(range(H)) if H <= 8 else sorted({0, H // 4, H // 2, 3 * H // 4, H - 1})
    axes.set_yticks(ticks)
    return image


def phase_map(axes: Axes, theta: Tensor, *, x: tuple[float, float]) -> Any:
    """`head_map` of angles (H, T), in cyclic colors; of (H, T, O), heads one below the other, a row per oscillator."""
    several = theta.dim() == 3
    rows = theta.transpose(1, 2).flatten(0, 1) if several else theta
    image = head_map(axes, torch.remainder(rows, TURN), x=x, cmap=PHASE_MAP, vmin=0, vmax=TURN)
    if several:
        H, _, N = theta.shape
        named = range(0, H, -(-H // 8))
        axes.set_yticks([(h + 0.5) * N - 0.5 for h in named], [str(h) for h in named])
        for h in range(1, H):
            axes.axhline(h * N - 0.5, color="white", lw=0.8)
    return image


def heads_named(theta: Tensor) -> str:
    """What the rows of `phase_map` are."""
    return "head" if theta.dim() == 2 else f"head, {theta.shape[-1]} oscillators each"


def phase_bar(figure: Figure, axes: list[Axes]) -> None:
    """A color bar from 0 to 2 pi beside `axes`."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    bar = figure.colorbar(
        ScalarMappable(Normalize(0, TURN), PHASE_MAP),
        ax=axes,
        ticks=[0, math.pi, TURN],
        shrink=0.8,
        aspect=24,
        pad=0.02,
    )
    bar.ax.set_yticklabels(["0", "$\\pi$", "$2\\pi$"])
    bar.set_label("phase $\\theta$ (radians)")
    bar.outline.set_visible(False)


def site_positions(shape: tuple[int, ...]) -> np.ndarray:
    """Where the sites of a lattice are drawn, (H, 2): last axis to the right, the one before down, others as blocks."""
    *outer, rows, columns = (1, 1, *shape)
    blocks = math.prod(outer)
    return np.array(
        [
            (block * (columns + 0.35) + column, -row)
            for block, row, column in itertools.product(range(blocks), range(rows), range(columns))
        ],
        dtype=float,
    )


def lattice_size(shape: tuple[int, ...], inches: float = 0.62) -> tuple[float, float]:
    """Width and height that `LatticeView` wants, at `inches` from site to site."""
    places = site_positions(shape)
    width, height = places.max(0) - places.min(0) + 1.1
    return inches * float(width), inches * float(height)


class LatticeView:
    """Heads on their lattice: discs in the color of the phase, with phase vectors; lines between neighbors."""

    def __init__(self, axes: Axes, shape: tuple[int, ...], weights: Tensor) -> None:
        from matplotlib.collections import EllipseCollection, LineCollection

        self.places = site_positions(shape)
        H = len(self.places)
        mutual = (weights + weights.t()) / 2
        plane = [index // math.prod(shape[-2:]) for index in range(H)]
        # Lines between the planes of a lattice of three dimensions or more would hide everything else.
        pairs = [(i, j) for i in range(H) for j in range(i + 1, H) if mutual[i, j] > 0 and plane[i] == plane[j]]
        strongest = float(mutual.max()) or 1.0
        axes.add_collection(
            LineCollection(
                [self.places[[i, j]] for i, j in pairs],
                linewidths=[0.4 + 2.6 * float(mutual[i, j]) / strongest for i, j in pairs],
                colors="#B8B8B8",
                zorder=1,
            )
        )
        size = 0.66
        self.discs = EllipseCollection(
            [size] * H,
            [size] * H,
            [0] * H,
            units="xy",
            offsets=self.places,
            offset_transform=axes.transData,
            edgecolors="#4D4D4D",
            linewidths=0.6,
            zorder=2,
        )
        axes.add_collection(self.discs)
        self.vectors = axes.quiver(
            *self.places.T,
            np.ones(H),
            np.zeros(H),
            pivot="mid",
            angles="xy",
            scale_units="xy",
            scale=1 / 0.52,
            units="xy",
            width=0.055,
            headwidth=4.2,
            headlength=4.5,
            headaxislength=4,
            zorder=3,
        )
        low, high = self.places.min(0), self.places.max(0)
        axes.set(xlim=(low[0] - 0.55, high[0] + 0.55), ylim=(low[1] - 0.55, high[1] + 0.55), aspect="equal")
        axes.axis("off")

    def show(self, theta: Tensor) -> None:
        """Turn the vectors to the phases theta (H,)."""
        from matplotlib import colormaps

        colors: Any = colormaps[PHASE_MAP](torch.remainder(theta, TURN).numpy() / TURN)
        self.discs.set_facecolor(colors)
        self.vectors.set_UVC(theta.cos().numpy(), theta.sin().numpy())
        arrows: Any = np.where(colors[:, :3] @ np.array([0.299, 0.587, 0.114]) < 0.55, "white", "black")
        self.vectors.set_color(arrows)
