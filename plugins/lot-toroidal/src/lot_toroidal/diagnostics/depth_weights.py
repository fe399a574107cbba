"""Depth weights: which depth each adaptive layer chooses, and whether it has decided."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lot import Diagnostic, NoOptions, Probe, Record
from lot.figure import SEQUENTIAL_MAP, new_figure
from lot_toroidal.attention.adaptive import AdaptiveAttention
from lot_toroidal.diagnostics.layers import layers_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DECIDED = 0.9
"""Weight from which a layer counts as decided."""


class DepthWeights(Diagnostic):
    """Probability of each candidate depth in every adaptive layer (with a router: its mean over tokens)."""

    needs = frozenset({"depth_weights"})
    headline = "decided"

    def __init__(self, config: NoOptions) -> None:
        pass

    def measure(self, probe: Probe) -> dict[str, Tensor]:
        """decided: () mean weight of each layer's likeliest depth; layer (L,), weights (L, C), depths (L, C)."""
        found: dict[int, Tensor] = probe.output.signals["depth_weights"]
        depths = {layer: module.options.depths for layer, module in layers_of(probe.model, AdaptiveAttention)}
        weights = torch.stack([value.float() for value in found.values()])
        return {
            "decided": weights.amax(-1).mean(),
            "layer": torch.tensor(list(found)),
            "weights": weights,
            "depths": torch.tensor([depths.get(layer, range(weights.shape[1])) for layer in found]),
        }

    def draw(self, records: list[Record]) -> Figure | None:
        """Weights over training, a panel per layer, depths stacked."""
        if not records:
            return None
        import matplotlib

        last = records[-1].values
        layers = last["layer"].tolist()
        columns = min(4, len(layers))
        rows = math.ceil(len(layers) / columns)
        figure, panels = new_figure(
            rows, columns, size=(1.6 + 2.9 * columns, 0.5 + 2.6 * rows), sharex=True, sharey=True
        )
        steps = [record.step for record in records]
        candidates = last["weights"].shape[1]
        colors = matplotlib.colormaps[SEQUENTIAL_MAP](torch.linspace(0.12, 0.9, candidates).numpy())
        for row, (panel, layer) in enumerate(zip(panels, layers, strict=False)):
            curves = torch.stack([record.values["weights"][row] for record in records]).T  # (C, records)
            names = [f"depth {int(depth)}" for depth in last["depths"][row]]
            panel.stackplot(steps, curves.numpy(), colors=colors, labels=names, linewidth=0)
            panel.set(
                title=f"layer {layer}", ylim=(0, 1), xlim=(steps[0], steps[-1] if len(steps) > 1 else steps[0] + 1)
            )
            panel.grid(False)
        for panel in panels[len(layers) :]:
            panel.set_visible(False)
        for panel in panels[-columns:]:
            panel.set_xlabel("step")
        for panel in panels[::columns]:
            panel.set_ylabel("probability")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right center", reverse=True)
        return figure

    def verdict(self, records: list[Record]) -> str | None:
        """What each layer chose, and whether it has decided."""
        if not records:
            return None
        values = records[-1].values
        chosen = []
        for layer, weights, depths in zip(values["layer"].tolist(), values["weights"], values["depths"], strict=True):
            best = int(weights.argmax())
            chosen.append(f"layer {layer}: {int(depths[best])} ({float(weights[best]):.2f})")
        how = "decided" if float(values["weights"].amax(-1).min()) >= DECIDED else f"undecided below {DECIDED:g}"
        return f"likeliest depth by {', '.join(chosen)}; {how}"
