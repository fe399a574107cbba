"""Lemma 1, measured: shift the input around the ring, and the output should shift with it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lot import Diagnostic, Probe, Record
from lot.figure import PALETTE, new_figure
from lot_toroidal.attention.toroidal import TorusAttention
from lot_toroidal.config import ShiftErrorConfig
from lot_toroidal.diagnostics.layers import layers_of
from lot_toroidal.ops.tiles import attend_tiles

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CLAIMED = 0.02
"""Error that the source's text reports; its code gives 0.004 to 0.009."""


def shift_error(attention: TorusAttention, x: Tensor, shift: int) -> Tensor:
    """Largest |f(shift x) - shift f(x)| over the largest |f(x)|, of the form of `attention` without a causal mask: ().

    x (B, N, D) fills the ring.
    """

    def f(x: Tensor) -> Tensor:
        torus = dataclasses.replace(attention.torus, causal=False)
        o = attend_tiles(*attention.heads.platters(x), torus)
        return attention.heads.unite(attention.fusion(o))

    y = f(x)
    return (f(x.roll(shift, dims=1)) - y.roll(shift, dims=1)).abs().max() / y.abs().max()


class ShiftError(Diagnostic):
    """Error by shift of every toroidal layer, on random input that fills the ring, without a causal mask."""

    headline = "shift_error"

    def __init__(self, config: ShiftErrorConfig) -> None:
        self.config = config

    def measure(self, probe: Probe) -> dict[str, Tensor]:
        """shift_error: () the worst; shifts (S,), error_shift (L, S), layer (L,). A model without toroidal layers has L = 0."""
        layers = list(layers_of(probe.model, TorusAttention))
        errors = torch.zeros(len(layers), len(self.config.shifts))
        for row, (_, attention) in enumerate(layers):
            weight = attention.heads.out.weight
            shape = (1, attention.torus.period, attention.dims.width)
            draw = torch.randn(shape, generator=probe.generator, device=probe.generator.device)
            x = draw.to(weight.device, weight.dtype)
            with torch.no_grad():
                for column, shift in enumerate(self.config.shifts):
                    errors[row, column] = shift_error(attention, x, shift)
        return {
            "shift_error": errors.max() if len(layers) else torch.zeros(()),
            "shifts": torch.tensor(self.config.shifts),
            "error_shift": errors,
            "layer": torch.tensor([layer for layer, _ in layers], dtype=torch.int64),
        }

    def draw(self, records: list[Record]) -> Figure | None:
        """Error by shift of each layer at the last record, beside the tolerance and what the source reports."""
        if not records or not len(records[-1].values["layer"]):
            return None
        values = records[-1].values
        figure, (axes,) = new_figure(size=(5.6, 3.6))
        shifts = values["shifts"].tolist()
        place = list(range(len(shifts)))
        for row, layer in enumerate(values["layer"].tolist()):
            error = values["error_shift"][row].clamp(min=1e-9)
            axes.plot(place, error, color=PALETTE[row % len(PALETTE)], marker="o", ms=5, label=f"layer {layer}")
        for level, name in ((CLAIMED, "claimed by its source"), (self.config.tolerance, "exact below")):
            axes.axhline(level, color="#4D4D4D", lw=1, ls=(0, (4, 3)))
            axes.annotate(name, (1.01, level), xycoords=("axes fraction", "data"), va="center", fontsize=8, color="#4D4D4D",
                          annotation_clip=False)  # fmt: skip
        axes.set(title=f"Shift invariance, step {records[-1].step}", xlabel="cyclic shift (positions)", yscale="log")
        axes.set(ylabel="error over largest output", xticks=place, xticklabels=shifts, ylim=(1e-9, 1))
        axes.legend(ncols=2)
        return figure

    def verdict(self, records: list[Record]) -> str | None:
        """The worst error against the tolerance."""
        if not records:
            return None
        if not len(records[-1].values["layer"]):
            return "no toroidal layer in this model"
        error, tolerance = float(records[-1].values["shift_error"]), self.config.tolerance
        how = "exact" if error < tolerance else "broken; integer frequencies make it exact"
        return f"shift error {error:.1e} (tolerance {tolerance:g}): cyclic invariance is {how}"
