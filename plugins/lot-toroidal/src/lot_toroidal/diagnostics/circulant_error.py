"""How far circulant attention is from the dense attention that it stands for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lot import Diagnostic, NoOptions, Probe, Record
from lot.figure import PALETTE, new_figure
from lot.nn import first_rows
from lot_toroidal.attention.fft import FFTAttention
from lot_toroidal.diagnostics.layers import captured_inputs, layers_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EXACT = 1e-4
"""Relative error that counts as rounding."""
EXAMPLES = 4
"""Sequences measured: dense attention stores all weights."""


class CirculantError(Diagnostic):
    """|y - y_dense| / |y_dense| of every toroidal_fft layer, on the inputs that it gets in the model."""

    headline = "fft_error"

    def __init__(self, config: NoOptions) -> None:
        pass

    def measure(self, probe: Probe) -> dict[str, Tensor]:
        """fft_error: () the worst layer's; layer (L,), error_layer (L,), error_position (L, T). Without such layers, L = 0.

        error_position: NaN beyond the longest document, where documents share rows.
        """
        layers = list(layers_of(probe.model, FFTAttention))
        T = probe.batch.inputs.shape[1]
        by_layer, by_position = torch.zeros(len(layers)), torch.full((len(layers), T), torch.nan)
        inputs = captured_inputs(probe, [attention for _, attention in layers])
        for row, ((_, attention), (x, ctx)) in enumerate(zip(layers, inputs, strict=True)):
            x, ctx = x[:EXAMPLES], first_rows(ctx, EXAMPLES)
            with torch.no_grad():
                dense = attention.dense(x, ctx).float()
                difference = attention(x, ctx)[0].float() - dense
            by_layer[row] = difference.norm() / dense.norm()
            by_position[row, : x.shape[1]] = difference.norm(dim=(0, 2)) / dense.norm(dim=(0, 2))
        return {
            "fft_error": by_layer.max() if layers else torch.zeros(()),
            "layer": torch.tensor([layer for layer, _ in layers], dtype=torch.int64),
            "error_layer": by_layer,
            "error_position": by_position,
        }

    def draw(self, records: list[Record]) -> Figure | None:
        """Error of each layer over training, and by position at the last record."""
        if not records or not len(records[-1].values["layer"]):
            return None
        figure, (training, positions) = new_figure(1, 2, size=(10.0, 3.6), sharey=True)
        steps, last = [record.step for record in records], records[-1].values
        for row, layer in enumerate(last["layer"].tolist()):
            color = PALETTE[row % len(PALETTE)]
            errors = [max(1e-9, float(record.values["error_layer"][row])) for record in records]
            training.plot(steps, errors, color=color, marker="o", ms=3.5, label=f"layer {layer}")
            positions.plot(last["error_position"][row].clamp(min=1e-9), color=color)
        for axes in (training, positions):
            axes.axhline(EXACT, color="#4D4D4D", lw=1, ls=(0, (4, 3)))
        positions.annotate("rounding\nbelow", (1.01, EXACT), xycoords=("axes fraction", "data"), va="center", fontsize=8,
                           color="#4D4D4D", annotation_clip=False)  # fmt: skip
        training.set(title="FFT against dense attention", xlabel="step", ylabel="relative error", yscale="log")
        positions.set(title=f"By position, step {steps[-1]}", xlabel="position (tokens)")
        training.legend()
        return figure

    def verdict(self, records: list[Record]) -> str | None:
        """The worst error and what it says about the scores."""
        if not records:
            return None
        if not len(records[-1].values["layer"]):
            return "no toroidal_fft layer in this model"
        error = float(records[-1].values["fft_error"])
        how = "scores are circulant, the FFT is exact" if error < EXACT else "scores depend on more than the lag"
        return f"error against dense attention {error:.1e} (rounding below {EXACT:g}): {how}"
