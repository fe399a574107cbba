"""Attention on the torus: platters as stacked rings, seen from one position, and unrolled."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from lot import Diagnostic, NoOptions, Probe, Record
from lot.figure import new_figure
from lot_toroidal.attention.toroidal import TorusAttention
from lot_toroidal.diagnostics.layers import layers_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap, Normalize
    from matplotlib.figure import Figure

HEADS = 4
"""Heads drawn: those whose attention differs most from even attention."""
INNER, OUTER, GAP = 0.58, 1.0, 0.5
"""Radii of a platter, and the height between two."""
AZIMUTH = -70
"""Where the camera stands, degrees."""
THREADS, FAINT = 8, 0.05
"""Places joined to the query by a thread, at most, and the share of the strongest below which there is none."""


class TorusPicture(Diagnostic):
    """What the last position of a sequence attends to, by position and platter, averaged over the batch."""

    needs = frozenset({"platter_attention"})

    def __init__(self, config: NoOptions) -> None:
        pass

    def measure(self, probe: Probe) -> dict[str, Tensor]:
        """weights_LAYER: (H, T, D), each head summing to 1; layer (L,), period (L,)."""
        found: dict[int, Tensor] = probe.output.signals["platter_attention"]
        periods = {layer: module.torus.period for layer, module in layers_of(probe.model, TorusAttention)}
        return {
            "layer": torch.tensor(list(found)),
            "period": torch.tensor([periods.get(layer, value.shape[1]) for layer, value in found.items()]),
            **{f"weights_{layer}": value[:, -1].float() for layer, value in found.items()},
        }

    def draw(self, records: list[Record]) -> Figure | None:
        """The last layer at the last record: the mean over heads on the stack of rings, and heads apart, unrolled."""
        if not records:
            return None
        import matplotlib
        from matplotlib.colors import PowerNorm

        record = records[-1]
        layer, period = int(record.values["layer"][-1]), int(record.values["period"][-1])
        weights = record.values[f"weights_{layer}"]  # (H, T, D)
        heads = _telling(weights)
        figure, axes = new_figure(len(heads), 2, size=(11.5, 5.2), width_ratios=(1, 1.2))
        grid = axes[0].get_gridspec()
        assert grid is not None
        for left in axes[::2]:
            left.remove()
        stack = figure.add_subplot(grid[:, 0], projection="3d")
        colors = matplotlib.colormaps["magma_r"]
        mean = weights.mean(0)
        even = 1 / mean.numel()  # palest: no more than even attention gives
        norm = PowerNorm(0.6, even, max(2 * even, float(weights[heads].max())), clip=True)
        _draw_stack(stack, mean, period, colors, norm)
        title = f"What position {weights.shape[1] - 1} attends to\n(layer {layer}, mean over heads)"
        stack.set_title(title, loc="left", fontsize=11, fontweight="bold")
        for panel, head in zip(axes[1::2], heads, strict=True):
            image = _draw_unrolled(panel, weights[head], period, colors, norm)
            panel.set_ylabel(f"head {head}\nplatter", fontsize=9)
        for panel in axes[1:-2:2]:
            panel.tick_params(labelbottom=False)
        axes[1].set_title(f"Unrolled, step {record.step}")
        axes[-1].set_xlabel("position on the ring")
        figure.colorbar(image, ax=axes[1::2], label="attention weight (palest: even or less)", shrink=0.8)
        return figure

    def verdict(self, records: list[Record]) -> str | None:
        """How many places a head looks at (the exponential of its entropy)."""
        if not records:
            return None
        layer = int(records[-1].values["layer"][-1])
        weights = records[-1].values[f"weights_{layer}"].double().flatten(1)
        places = torch.exp(-torch.special.xlogy(weights, weights).sum(-1))
        return (
            f"layer {layer}: a head looks at {float(places.min()):.1f} to {float(places.max()):.1f} "
            f"of {weights.shape[1]} places (position and platter)"
        )


def _telling(weights: Tensor) -> list[int]:
    """Up to `HEADS` heads of weights (H, T, D), of least entropy, in order of number."""
    flat = weights.double().flatten(1)
    entropy = -torch.special.xlogy(flat, flat).sum(-1)
    return sorted(entropy.argsort()[:HEADS].tolist())


def _draw_stack(axes: Any, weights: Tensor, period: int, colors: Colormap, norm: Normalize) -> None:
    """Each platter as a ring of sectors, one a position, colored by its weight; empty places are gray.

    The query stands in front; threads lead from it to the places that it attends to most.
    """
    from mpl_toolkits.mplot3d.art3d import Poly3DCollection

    T, D = weights.shape
    turn = 2 * math.pi / period
    front = math.radians(AZIMUTH) - 0.25 - T * turn + turn / 2  # so that position T - 1 comes to stand in front

    def corner(radius: float, place: float, platter: int) -> tuple[float, float, float]:
        angle = front + (place + 0.5) * turn
        return radius * math.cos(angle), radius * math.sin(angle), platter * GAP

    for platter in range(D):
        faces, shades = [], []
        for place in range(period):
            ends = (place - 0.5, place + 0.5)
            faces.append(
                [
                    corner(r, p, platter)
                    for r, p in zip((INNER, OUTER, OUTER, INNER), (*ends[:1] * 2, *ends[1:] * 2), strict=True)
                ]
            )
            shades.append(colors(norm(float(weights[place, platter]))) if place < T else (0.9, 0.9, 0.9, 1.0))
        ring = Poly3DCollection(faces, facecolors=shades, edgecolors=shades, linewidths=0.2, zorder=2 * platter)
        axes.add_collection3d(ring)
        for radius in (INNER, OUTER):
            edge = np.array([corner(radius, place, platter) for place in np.linspace(0, period, 181)]).T
            axes.plot(*edge, color="#4D4D4D", lw=0.5, zorder=2 * platter + 0.5)
        name = f"platter\n{platter}" if platter == D - 1 else f"{platter}"
        beside = corner(OUTER * 1.08, T - 1 - period / 4, platter)
        axes.text(*beside, name, fontsize=9, color="#4D4D4D", va="center", ha="right")
    foot, head = corner(OUTER * 1.06, T - 1, 0), corner(OUTER * 1.06, T - 1, D - 1)
    axes.plot(*zip(foot, head, strict=True), color="#0072B2", lw=3, zorder=3 * D, solid_capstyle="round")
    axes.text(foot[0], foot[1], foot[2] - 0.16, f"query {T - 1}", color="#0072B2", ha="center", va="top", fontsize=9)
    middle = np.mean([foot, head], axis=0)
    best = weights.flatten().topk(min(THREADS, weights.numel()))
    for share, index in zip(best.values.tolist(), best.indices.tolist(), strict=True):
        if share < FAINT * best.values[0].item():
            break
        place, platter = divmod(index, D)
        target = np.array(corner((INNER + OUTER) / 2, place, platter))
        along = np.linspace(0, 1, 40)[:, None]
        # A quadratic Bezier curve through the axis of the stack, so that threads do not run inside the platters.
        bend = np.array([0.0, 0.0, (middle[2] + target[2]) / 2])
        thread = (1 - along) ** 2 * middle + 2 * along * (1 - along) * bend + along**2 * target
        width = 0.6 + 2.0 * share / best.values[0].item()
        axes.plot(*thread.T, color="#0072B2", lw=width, alpha=0.55, zorder=3 * D)
    axes.set(xlim=(-0.78, 0.78), ylim=(-0.78, 0.78), zlim=(0, max(D - 1, 1) * GAP))
    axes.set_box_aspect((1, 1, 0.3 * max(D - 1, 1)))
    axes.view_init(elev=24, azim=AZIMUTH)
    axes.set_axis_off()


def _draw_unrolled(axes: Axes, weights: Tensor, period: int, colors: Colormap, norm: Normalize) -> Any:
    """Platters as rows, positions as columns."""
    T, D = weights.shape
    image = axes.imshow(
        weights.T, cmap=colors, norm=norm, aspect="auto", interpolation="nearest", origin="lower",
        extent=(-0.5, T - 0.5, -0.5, D - 0.5),
    )  # fmt: skip
    axes.axvline(T - 1, color="#0072B2", lw=1.5)
    axes.grid(False)
    axes.set(xlim=(-0.5, period - 0.5), yticks=range(D), facecolor="#E6E6E6")
    return image
