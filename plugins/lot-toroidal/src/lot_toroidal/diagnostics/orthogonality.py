"""Orthogonality: how well the rotary encoding tells positions from platters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lot import Diagnostic, NoOptions, Probe, Record
from lot.figure import DIVERGING_MAP, PALETTE, new_figure
from lot_toroidal.attention.encoding import TorusEncoding

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ORTHOGONAL = 1e-4
"""Score up to which the bases count as orthogonal."""


class Orthogonality(Diagnostic):
    """|cos| of the angle between the frequencies of the sequence and of the platters, worst of all layers (and depths)."""

    headline = "orthogonality"

    def __init__(self, config: NoOptions) -> None:
        pass

    def measure(self, probe: Probe) -> dict[str, Tensor]:
        """orthogonality: () the worst score. Of that layer: omega, phi (p / 2,) radians per position and per platter; depth ().

        A model without a toroidal encoding has score 0 and empty bases.
        """
        worst: TorusEncoding | None = None
        for module in probe.model.modules():
            if isinstance(module, TorusEncoding) and (worst is None or module.score > worst.score):
                worst = module
        if worst is None:
            return {
                "orthogonality": torch.zeros(()),
                "omega": torch.zeros(0),
                "phi": torch.zeros(0),
                "depth": torch.tensor(1),
            }
        return {
            "orthogonality": torch.tensor(worst.score),
            "omega": worst.omega.float(),
            "phi": worst.phi.float(),
            "depth": torch.tensor(worst.depth),
        }

    def draw(self, records: list[Record]) -> Figure | None:
        """Both bases by channel pair, and how similar two places look, by lag and platters apart."""
        if not records or not len(records[-1].values["omega"]):
            return None
        from matplotlib.ticker import MaxNLocator

        values = records[-1].values
        omega, phi, depth = values["omega"].double(), values["phi"].double(), int(values["depth"])
        figure, (bases, kernel) = new_figure(1, 2, size=(10.5, 3.6), width_ratios=(1, 1.35))
        pair = torch.arange(len(omega))
        bases.bar(pair - 0.2, omega / omega.norm(), width=0.4, color=PALETTE[0], label=r"sequence $\omega/|\omega|$")
        bases.bar(pair + 0.2, phi / phi.norm(), width=0.4, color=PALETTE[1], label=r"platters $\phi/|\phi|$")
        bases.axhline(0, color="#4D4D4D", lw=0.8)
        bases.set(title="Frequency bases", xlabel="channel pair", ylabel="share of the basis")
        bases.xaxis.set_major_locator(MaxNLocator(integer=True))
        bases.legend()
        reach = 64
        lag = torch.arange(-reach, reach + 1, dtype=torch.float64)
        apart = torch.arange(-(depth - 1), depth, dtype=torch.float64)
        alike = torch.cos(lag[:, None, None] * omega + apart[:, None] * phi).mean(-1)  # (lags, platters)
        image = kernel.imshow(
            alike.T, cmap=DIVERGING_MAP, vmin=-1, vmax=1, aspect="auto", interpolation="nearest",
            extent=(-reach - 0.5, reach + 0.5, -depth + 0.5, depth - 0.5), origin="lower",
        )  # fmt: skip
        kernel.grid(False)
        kernel.set(
            title=f"Similarity of two places (score {float(values['orthogonality']):.1e})", xlabel="lag (positions)"
        )
        kernel.set_ylabel("platters apart")
        kernel.set_yticks(range(-depth + 1, depth))
        figure.colorbar(image, ax=kernel, label="mean cosine")
        return figure

    def verdict(self, records: list[Record]) -> str | None:
        """The score against its threshold."""
        if not records:
            return None
        values = records[-1].values
        if not len(values["omega"]):
            return "no toroidal encoding in this model"
        score = float(values["orthogonality"])
        how = "orthogonal" if score < ORTHOGONAL else "not orthogonal; orthogonal=true makes them so"
        return f"orthogonality score {score:.1e} (threshold {ORTHOGONAL:g}): bases are {how}"
