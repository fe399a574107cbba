"""Phase snapshots: all phases of one sequence, kept during training, drawn, and animated as a wave."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from lot import BadInput, Diagnostic, NoOptions, Probe, Record
from lot.circular import chance_order
from lot.figure import PALETTE, new_figure, save_animation, spaced
from lot_lattice.attention.lattice import LatticeAttention
from lot_lattice.diagnostics.drawing import (
    MOST_LAYERS,
    LatticeView,
    heads_named,
    layers_of,
    phase_bar,
    phase_map,
)
from lot_lattice.diagnostics.lattices import lattice_shapes
from lot_lattice.ops.synchrony import by_layer, order, population

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_RECORDS = 5
MOST_FRAMES = 64
FRAMES_A_SECOND = 8


class PhaseSnapshots(Diagnostic):
    """The phases of the first validation sequence."""

    needs = frozenset({"phase"})

    def __init__(self, config: NoOptions) -> None:
        pass

    def measure(self, probe: Probe) -> dict[str, Tensor]:
        """tokens: (T,) ids; by layer L: phase_L (H, T) or (H, T, O) radians.

        Of a lattice also shape_L (n,), and neighbors_L (H, H) bool: which heads its own options make neighbors.
        """
        values = {"tokens": probe.batch.inputs[0]}
        for layer, theta in by_layer(probe.output, "phase").items():
            values[f"phase_{layer}"] = theta[0]
        for layer, shape in lattice_shapes(probe).items():
            values[f"shape_{layer}"] = torch.tensor(shape)
        for module in probe.model.modules():
            if isinstance(module, LatticeAttention) and f"shape_{module.dims.layer}" in values:
                values[f"neighbors_{module.dims.layer}"] = module.get_buffer("neighbor")
        return values

    def draw(self, records: list[Record]) -> Figure | None:
        """Oscillators x positions in the color of their phase: a row per layer, a column per record."""
        if not records:
            return None
        shown = spaced(records, MOST_RECORDS)
        layers = spaced(layers_of(records[-1].values, "phase"), MOST_LAYERS)
        size = (2.6 * len(shown) + 1.6, 2.4 * len(layers) + 0.6)
        figure, panels = new_figure(len(layers), len(shown), size=size, sharex=True)
        for index, axes in enumerate(panels):
            layer, record = layers[index // len(shown)], shown[index % len(shown)]
            theta = record.values[f"phase_{layer}"]
            phase_map(axes, theta, x=(0, theta.shape[1] - 1))
            if index < len(shown):
                axes.set_title(f"step {record.step}")
            if index % len(shown) == 0:
                axes.set_ylabel(f"layer {layer}\n{heads_named(theta)}")
            else:
                axes.set_yticklabels([])
            if index >= len(panels) - len(shown):
                axes.set_xlabel("position (tokens)")
        phase_bar(figure, panels)
        return figure

    def animate(self, records: list[Record], path: Path | str) -> None:
        """Write the phase wave of the last record to `path` (.gif or .mp4), a frame per token.

        Raises BadInput without a record, and for a path that cannot be written (see `lot.figure.save_animation`).
        """
        if not records:
            raise BadInput("no phase snapshot was recorded", fix="set diagnostics.phase_snapshots.every")
        step, values = records[-1]
        layers = spaced(layers_of(values, "phase"), 3)
        T = len(values["tokens"])
        size = (4.2 * len(layers) + 0.8, 6.0)
        figure, panels = new_figure(3, len(layers), size=size, height_ratios=(1.5, 1.0, 0.7))
        columns = len(layers)
        turn: list[Callable[[int], None]] = []
        for column, layer in enumerate(layers):
            above, wave, curve = panels[column], panels[columns + column], panels[2 * columns + column]
            theta = values[f"phase_{layer}"]
            shape = values.get(f"shape_{layer}")
            turn.append(
                _circle(above, theta)
                if shape is None
                else _lattice(above, theta, tuple(shape.tolist()), values[f"neighbors_{layer}"])
            )
            above.set_title(f"Layer {layer}, step {step}")
            phase_map(wave, theta, x=(0, T - 1))
            wave.set_ylabel("head" if column == 0 else "")
            wave.set_xticklabels([])
            R = order(theta[None]).reshape(-1, T).mean(0)
            curve.plot(range(T), R, color="#0072B2")
            chance = chance_order(population(theta[None]))
            curve.axhline(chance, color="#4D4D4D", lw=1, ls=(0, (4, 3)))
            place: Any = {"xycoords": ("axes fraction", "data"), "textcoords": "offset points", "fontsize": 8}
            curve.annotate(
                "random phases", (1, chance), xytext=(-2, -2), ha="right", va="top", color="#4D4D4D", **place
            )
            curve.set(xlim=(-0.5, T - 0.5), ylim=(0, 1), xlabel="position (tokens)", ylabel="$R$")
            turn += [_cursor(wave), _cursor(curve)]
        phase_bar(figure, panels[columns : 2 * columns])
        heading = figure.suptitle("", fontsize=10)

        def show(t: int) -> None:
            heading.set_text(f"after token {t}")
            for update in turn:
                update(t)

        stride = -(-T // MOST_FRAMES)
        save_animation(figure, show, range(0, T, stride), path, frames_a_second=FRAMES_A_SECOND, dpi=80)


def _cursor(axes: Axes) -> Callable[[int], None]:
    line = axes.axvline(0, color="black", lw=1.2)
    return lambda t: line.set_xdata([t, t])


def _lattice(axes: Axes, theta: Tensor, shape: tuple[int, ...], neighbors: Tensor) -> Callable[[int], None]:
    """Heads on their lattice, a line between neighbors; theta (H, T), neighbors (H, H) bool."""
    view = LatticeView(axes, shape, neighbors.float())
    return lambda t: view.show(theta[:, t])


def _circle(axes: Axes, theta: Tensor) -> Callable[[int], None]:
    """Oscillators on the unit circle, a color per head, with each head's mean vector; theta (H, T, O)."""
    around = np.linspace(0, 2 * np.pi, 200)
    axes.plot(np.cos(around), np.sin(around), color="#C8C8C8", lw=1)
    axes.set(xlim=(-1.25, 1.25), ylim=(-1.25, 1.25), aspect="equal")
    axes.axis("off")
    H = theta.shape[0]
    colors = [PALETTE[h % len(PALETTE)] for h in range(H)]
    dots = [axes.plot([], [], "o", ms=4, alpha=0.7, color=colors[h], mec="none")[0] for h in range(H)]
    means = [axes.plot([], [], "-", lw=2, color=colors[h])[0] for h in range(H)]

    def update(t: int) -> None:
        for h in range(H):
            x, y = theta[h, t].cos(), theta[h, t].sin()
            radius = 1 + 0.16 * (h - (H - 1) / 2) / max(H - 1, 1)  # heads side by side, not on top of each other
            dots[h].set_data(radius * x.numpy(), radius * y.numpy())
            means[h].set_data([0, float(x.mean())], [0, float(y.mean())])

    return update
