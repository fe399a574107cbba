"""Coupling: the force that neighbors exert on each head, and how far neighbors agree."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lot import Diagnostic, NoOptions, Probe, Record
from lot.figure import DIVERGING_MAP, PALETTE, new_figure, over_training, spaced
from lot.nn import mean_by_position
from lot_lattice.diagnostics.drawing import MOST_LAYERS, head_map, layers_of
from lot_lattice.ops.synchrony import by_layer

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Coupling(Diagnostic):
    """Coupling force by head and position, and the agreement cos(theta_i - theta_j) of each pair of neighbors."""

    needs = frozenset({"phase", "coupling_force", "neighbor_weights"})

    def __init__(self, config: NoOptions) -> None:
        pass

    def measure(self, probe: Probe) -> dict[str, Tensor]:
        """force_rms, agreement: () means over layers; by layer L, averaged over the batch:

        force_L (H, T) radians per unit of time, NaN beyond the longest document where documents share rows; agreement_L and
        weights_L (H, H), 0 where two heads are no neighbors.
        force_rms_layers, agreement_layers: (n,), one for each of the layers in order.
        """
        phases, forces = by_layer(probe.output, "phase"), by_layer(probe.output, "coupling_force")
        values, rms, agreements = {}, [], []
        for layer, weights in by_layer(probe.output, "neighbor_weights").items():
            theta = phases[layer].transpose(0, 1).flatten(1)  # (H, B T), or (H, B T O)
            sin, cos = theta.sin(), theta.cos()
            agreement = (cos @ cos.t() + sin @ sin.t()) / theta.shape[1]
            neighbors = weights > 0
            values[f"force_{layer}"] = mean_by_position(forces[layer], probe.ctx)
            values[f"agreement_{layer}"] = torch.where(neighbors, agreement, 0.0)
            values[f"weights_{layer}"] = weights
            rms.append(forces[layer].square().mean().sqrt())
            agreements.append(agreement[neighbors].mean() if neighbors.any() else agreement.new_zeros(()))
        values["force_rms_layers"] = torch.stack(rms)
        values["agreement_layers"] = torch.stack(agreements)
        values["force_rms"] = torch.stack(rms).mean()
        values["agreement"] = torch.stack(agreements).mean()
        return values

    def draw(self, records: list[Record]) -> Figure | None:
        """A row per layer: mean force by head and position, agreement of neighbors, and both over training."""
        if not records:
            return None
        step, values = records[-1]
        everything = layers_of(values, "force")
        layers = spaced(everything, MOST_LAYERS)
        figure, panels = new_figure(len(layers), 3, size=(13.0, 2.7 * len(layers) + 0.3), width_ratios=(1.5, 1.0, 1.1))
        largest = max(float(values[f"force_{layer}"].nan_to_num().abs().max()) for layer in layers) or 1.0
        steps = [record.step for record in records]
        for row, layer in enumerate(layers):
            force, agree, training = panels[3 * row : 3 * row + 3]
            T = values[f"force_{layer}"].shape[1]
            map_of_force = head_map(
                force, values[f"force_{layer}"], x=(0, T - 1), cmap=DIVERGING_MAP, vmin=-largest, vmax=largest
            )
            force.set_title(f"Layer {layer}" + (f": mean coupling force, step {step}" if row == 0 else ""))
            force.set(xlabel="position (tokens)", ylabel="head")
            H = values[f"agreement_{layer}"].shape[0]
            known = values[f"weights_{layer}"] > 0
            map_of_agreement = head_map(
                agree,
                torch.where(known, values[f"agreement_{layer}"], math.nan),
                x=(0, H - 1),
                cmap=DIVERGING_MAP,
                vmin=-1,
                vmax=1,
            )
            agree.set_aspect("equal")
            agree.set_facecolor("#D4D4D4")
            agree.set_xticks(agree.get_yticks())
            agree.set(xlabel="neighbor $j$", ylabel="head $i$")
            agree.set_title("Agreement of neighbors" if row == 0 else "")
            index = everything.index(layer)
            dots = over_training(training, steps)
            for name, label, color in (
                ("force_rms_layers", "force, rms (radians per unit of time)", PALETTE[0]),
                ("agreement_layers", "agreement (0: random phases)", PALETTE[1]),
            ):
                curve = [float(record.values[name][index]) for record in records]
                training.plot(steps, curve, color=color, label=label, **dots)
            training.axhline(0, color="#4D4D4D", lw=0.8)
            training.set_title("Over training" if row == 0 else "")
        low = min(axes.get_ylim()[0] for axes in panels[2::3])
        high = max(axes.get_ylim()[1] for axes in panels[2::3])
        for axes in panels[2::3]:
            axes.set_ylim(low, high)
        panels[2].legend()
        for image, column, label in (
            (map_of_force, panels[0::3], "radians per unit of time"),
            (map_of_agreement, panels[1::3], "mean $\\cos(\\theta_i - \\theta_j)$"),
        ):
            bar = figure.colorbar(image, ax=column, shrink=0.85, aspect=24, pad=0.02)
            bar.set_label(label)
            bar.outline.set_visible(False)
        return figure
