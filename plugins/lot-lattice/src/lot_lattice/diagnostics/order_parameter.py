"""The order parameter R: how synchronized the oscillators are, over training, over depth and over positions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lot import Diagnostic, Probe, Record
from lot.circular import chance_order
from lot.figure import PALETTE, new_figure, over_training
from lot.nn import mean_by_position, with_documents
from lot_lattice.config import OrderParameterConfig
from lot_lattice.ops.synchrony import (
    by_layer,
    order,
    order_over_documents,
    order_over_tokens,
    population,
    token_mean,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLLAPSED = 0.95
"""R above this at each token and over tokens alike, `PATIENCE` records in a row: the phases say nothing any more."""
PATIENCE = 3
BY_CHANCE = 0.1
"""R within this share of the level of random phases says no more than chance does; a healthy R lies above it."""


class OrderParameter(Diagnostic):
    """Kuramoto's R = |mean exp(i theta)| over the heads of a lattice, or over the oscillators of a phase head.

    n independent phases give sqrt(pi / 4n) by chance, so every R is shown beside that level,
    and no R near or below it is called healthy.
    """

    needs = frozenset({"phase"})
    headline = "R"

    def __init__(self, config: OrderParameterConfig) -> None:
        self.config = config

    def measure(self, probe: Probe) -> dict[str, Tensor]:
        """R and R_tokens: () means over layers; layers: (n, 2) layer and number of oscillators; R_position: (n, T).

        R_tokens is taken over the tokens of a sequence instead, for each oscillator. Where documents share rows, each is a
        sequence, which counts by its length in R_tokens; R_position is NaN beyond the longest, and R_layers (n,) are means.
        """
        phases = by_layer(probe.output, "phase")
        layers = torch.tensor([(layer, population(theta)) for layer, theta in phases.items()])
        ctx = with_documents(probe.ctx)
        if ctx.segments is not None:
            at_tokens = [order(theta) for theta in phases.values()]
            R_layers = torch.stack([token_mean(R, ctx.segments < 0) for R in at_tokens])
            over_tokens = [order_over_documents(theta, ctx.segments).mean() for theta in phases.values()]
            T = ctx.segments.shape[1]
            return {
                "R": R_layers.mean(),
                "R_tokens": torch.stack(over_tokens).mean(),
                "layers": layers,
                "R_layers": R_layers,
                "R_position": torch.stack([mean_by_position(R, ctx).view(-1, T).mean(0) for R in at_tokens]),
            }
        R_position = torch.stack([order(theta).flatten(0, -2).mean(0) for theta in phases.values()])
        return {
            "R": R_position.mean(),
            "R_tokens": torch.stack([order_over_tokens(theta).mean() for theta in phases.values()]).mean(),
            "layers": layers,
            "R_position": R_position,
        }

    def draw(self, records: list[Record]) -> Figure | None:
        """R of each layer over training, and over the positions of the sequence at the last record."""
        if not records:
            return None
        figure, (training, positions) = new_figure(1, 2, size=(10.0, 3.8), sharey=True)
        last = records[-1].values
        steps = [record.step for record in records]
        dots = over_training(training, steps)
        for row, layer in enumerate(last["layers"][:, 0].tolist()):
            color = PALETTE[row % len(PALETTE)]
            style = ("-", "--", ":")[row // len(PALETTE) % 3]
            R = [float(_of_layers(record)[row]) for record in records]
            training.plot(steps, R, color=color, ls=style, label=f"layer {layer}", **dots)
            curve = last["R_position"][row]
            positions.plot(range(len(curve)), curve, color=color, ls=style)
        self._mark_bands(training, last["layers"][:, 1], named=False)
        self._mark_bands(positions, last["layers"][:, 1], named=True)
        training.set(ylabel="order parameter $R$", ylim=(0, 1))
        positions.set(xlabel="position (tokens)", ylim=(0, 1))
        training.set_title("Over training")
        positions.set_title(f"Over positions, step {steps[-1]}")
        training.margins(x=0.02)
        positions.margins(x=0)
        handles, names = training.get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=min(8, len(names)), frameon=False)
        return figure

    def _mark_bands(self, axes: Axes, populations: Tensor, named: bool) -> None:
        """The healthy band, the over-synchronized one, and what random phases give; named at the right edge.

        The healthy band starts above every level of random phases, and is left out where they reach its end.
        """
        levels = sorted({chance_order(int(n)) for n in populations.tolist()})
        band, over = self.healthy_band(max(levels)), self.config.over
        axes.axhspan(over, 1.0, color="#D55E00", alpha=0.13, lw=0)
        names = [((over + 1) / 2, "over-\nsynchronized", "#A34700")]
        middle = None
        if band is not None:
            axes.axhspan(*band, color="#009E73", alpha=0.13, lw=0)
            middle = sum(band) / 2
            names.append((middle, "healthy", "#00694D"))
        for level in levels:
            axes.axhline(level, color="#4D4D4D", lw=1, ls=(0, (4, 3)))
            close = middle is not None and abs(level - middle) < 0.06
            names.append((middle - 0.06 if close else level, "random phases", "#4D4D4D"))  # type: ignore[operator]
        for height, name, color in names if named else ():
            axes.annotate(
                name,
                (1.01, height),
                xycoords=("axes fraction", "data"),
                va="center",
                fontsize=8,
                color=color,
                annotation_clip=False,
            )

    def healthy_band(self, chance: float) -> tuple[float, float] | None:
        """The part of the configured range of R that lies above what random phases give; None where none is left.

        chance: R of random phases, `lot.circular.chance_order` of the number of oscillators.
        """
        low, high = self.config.healthy
        start = max(low, (1 + BY_CHANCE) * chance)
        return (start, high) if start < high else None

    def alarm(self, records: list[Record]) -> str | None:
        """A warning when R has just been too high for `PATIENCE` records in a row; once each time."""
        for name, too_high in (("collapsed", self._collapsed), ("over-synchronized", self._over)):
            if too_high(records) and not too_high(records[:-1]):
                R, R_tokens = (float(records[-1].values[key]) for key in ("R", "R_tokens"))
                return f"{name}: R = {R:.2f} at each token and {R_tokens:.2f} over tokens, {PATIENCE} times in a row"
        return None

    def _over(self, records: list[Record]) -> bool:
        recent = records[-PATIENCE:]
        return len(recent) == PATIENCE and min(float(record.values["R"]) for record in recent) > self.config.over

    @staticmethod
    def _collapsed(records: list[Record]) -> bool:
        recent = records[-PATIENCE:]
        least = min((float(record.values[key]) for record in recent for key in ("R", "R_tokens")), default=0.0)
        return len(recent) == PATIENCE and least > COLLAPSED

    def verdict(self, records: list[Record]) -> str | None:
        """What the last R means, with the thresholds that it is held against."""
        if not records:
            return None
        last = records[-1].values
        R, n = float(last["R"]), int(last["layers"][0, 1])
        chance, over = chance_order(n), self.config.over
        told = f"R = {R:.2f} over {n} oscillators (random phases give {chance:.2f})"
        if self._collapsed(records):
            return f"{told}: collapsed, above {COLLAPSED} at every token and over tokens, {PATIENCE} records in a row"
        if over < R:
            return f"{told}: over-synchronized, above {over:g}"
        if abs(R - chance) < BY_CHANCE * chance:
            return f"{told}: no more in phase than by chance"
        band = self.healthy_band(chance)
        if band is None:
            side = "more" if chance < R else "less"
            return (
                f"{told}: {side} in phase than by chance, which leaves no healthy band below {self.config.healthy[1]:g}"
            )
        low, high = band
        if low <= R <= high:
            return f"{told}: healthy, within {low:.2g} to {high:.2g}"
        return f"{told}: {'above' if high < R else 'below'} the healthy band of {low:.2g} to {high:.2g}"


def _of_layers(record: Record) -> Tensor:
    """R (n,) of each layer."""
    values = record.values
    return values["R_layers"] if "R_layers" in values else values["R_position"].mean(1)
