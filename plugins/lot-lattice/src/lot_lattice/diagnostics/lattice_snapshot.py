"""The lattice at some tokens of one sequence: where each head's phase points."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lot import Diagnostic, Probe, Record
from lot.circular import chance_order, order_parameter
from lot.figure import apart, new_figure, spaced
from lot_lattice.config import LatticeSnapshotConfig
from lot_lattice.diagnostics.drawing import MOST_LAYERS, LatticeView, lattice_size, layers_of, phase_bar
from lot_lattice.diagnostics.lattices import lattice_shapes
from lot_lattice.ops.synchrony import by_layer

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class LatticeSnapshot(Diagnostic):
    """Phase vectors of the heads on their lattice, at tokens spread over the first validation sequence."""

    needs = frozenset({"phase", "neighbor_weights"})

    def __init__(self, config: LatticeSnapshotConfig) -> None:
        self.frames = config.frames

    def measure(self, probe: Probe) -> dict[str, Tensor]:
        """position: (F,) tokens; by layer L: theta_L (H, F), weights_L (H, H), shape_L (dimensions,)."""
        weights = by_layer(probe.output, "neighbor_weights")
        T = probe.batch.inputs.shape[1]
        position = torch.linspace(0, T - 1, min(self.frames, T)).round().long()
        values = {"position": position}
        for layer, shape in lattice_shapes(probe).items():
            values[f"theta_{layer}"] = by_layer(probe.output, "phase")[layer][0][:, position]
            values[f"weights_{layer}"] = weights[layer]
            values[f"shape_{layer}"] = torch.tensor(shape)
        return values

    def draw(self, records: list[Record]) -> Figure | None:
        """The last record: a row per layer, a column per token."""
        if not records:
            return None
        step, values = records[-1]
        layers = spaced(layers_of(values, "theta"), MOST_LAYERS)
        positions = values["position"].tolist()
        if not layers:
            return None
        shapes = {layer: tuple(values[f"shape_{layer}"].tolist()) for layer in layers}
        width, height = lattice_size(shapes[layers[0]])
        size = (len(positions) * (max(width, 1.9) + 0.3) + 1.2, len(layers) * (height + 0.4) + 0.5)
        figure, panels = new_figure(len(layers), len(positions), size=size)
        for row, layer in enumerate(layers):
            theta = values[f"theta_{layer}"]
            for column, position in enumerate(positions):
                axes = panels[row * len(positions) + column]
                LatticeView(axes, shapes[layer], values[f"weights_{layer}"]).show(theta[:, column])
                R = float(order_parameter(theta[:, column], dim=0))
                where = f"layer {layer}, token {position}" if column == 0 else f"token {position}"
                axes.set_title(f"{where}:  R = {R:.2f}", fontsize=9)
        apart(figure)
        phase_bar(figure, panels)
        H = values[f"theta_{layers[0]}"].shape[0]
        figure.suptitle(
            f"Phases of {H} heads at step {step} (random phases: R = {chance_order(H):.2f}); lines: coupled neighbors",
            fontsize=9,
            x=0.01,
            ha="left",
        )
        return figure
