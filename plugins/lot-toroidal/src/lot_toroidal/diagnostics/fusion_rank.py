"""Fusion rank: how many platters still count after they have been mixed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lot import Diagnostic, NoOptions, Probe, Record
from lot.figure import DIVERGING_MAP, PALETTE, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = 4
"""Matrices drawn: of the first layers."""


def effective_rank(matrix: Tensor) -> Tensor:
    """exp of the entropy of the singular values as shares of their sum: (), from 1 to min(matrix.shape); 0 for a zero matrix."""
    values = torch.linalg.svdvals(matrix.double())
    total: Tensor = values.sum()
    if total == 0:
        return total
    share: Tensor = values / total
    return torch.exp(-torch.special.xlogy(share, share).sum())


class FusionRank(Diagnostic):
    """Effective rank of the matrix that mixes platters (Roy and Vetterli, 2007).

    It is 1 where all platters become the same, and the depth D where none is lost.
    """

    needs = frozenset({"platter_mixing"})
    headline = "rank"

    def __init__(self, config: NoOptions) -> None:
        pass

    def measure(self, probe: Probe) -> dict[str, Tensor]:
        """rank: () mean effective rank; by layer: layer (L,), rank_layer (L,), depth (L,), and matrix_LAYER (D, D)."""
        matrices: dict[int, Tensor] = probe.output.signals["platter_mixing"]
        ranks = torch.stack([effective_rank(matrix) for matrix in matrices.values()]).float()
        return {
            "rank": ranks.mean(),
            "layer": torch.tensor(list(matrices)),
            "rank_layer": ranks,
            "depth": torch.tensor([matrix.shape[-1] for matrix in matrices.values()]),
            **{f"matrix_{layer}": matrix.float() for layer, matrix in matrices.items()},
        }

    def draw(self, records: list[Record]) -> Figure | None:
        """Effective rank over training, and the matrices at the last record."""
        if not records:
            return None
        last = records[-1].values
        layers = last["layer"].tolist()
        shown = layers[:SHOWN]
        ratios = (1.9, *[1] * len(shown))
        figure, (axes, *panels) = new_figure(1, 1 + len(shown), size=(4.6 + 2.1 * len(shown), 3.2), width_ratios=ratios)
        steps = [record.step for record in records]
        for row, layer in enumerate(layers):
            ranks = [float(record.values["rank_layer"][row]) for record in records]
            size = 3.5 + 5.5 * (1 - (row + 1) / len(layers))  # layers of equal rank lie on each other: rings about dots
            axes.plot(
                steps,
                ranks,
                color=PALETTE[row % len(PALETTE)],
                marker="o",
                ms=size,
                lw=size / 2.2,
                label=f"layer {layer}",
            )
        depth = int(last["depth"].max())
        axes.axhline(depth, color="#4D4D4D", lw=1, ls=(0, (4, 3)))
        axes.annotate("all platters", (1, depth), xycoords=("axes fraction", "data"), xytext=(-3, -11),
                      textcoords="offset points", ha="right", fontsize=8, color="#4D4D4D")  # fmt: skip
        axes.set(
            title="Effective rank of the fusion",
            xlabel="step",
            ylabel="effective rank (platters)",
            ylim=(0, depth * 1.08),
        )
        axes.legend(loc="lower right", ncols=2)
        limit = max(float(last[f"matrix_{layer}"].abs().max()) for layer in shown) or 1.0
        for panel, layer in zip(panels, shown, strict=True):
            matrix = last[f"matrix_{layer}"]
            image = panel.imshow(matrix, cmap=DIVERGING_MAP, vmin=-limit, vmax=limit)
            panel.grid(False)
            panel.set(
                title=f"layer {layer}", xlabel="platter read", xticks=range(len(matrix)), yticks=range(len(matrix))
            )
        panels[0].set_ylabel("platter that reads")
        figure.colorbar(image, ax=panels, label=r"weight $\Omega$", shrink=0.75)
        return figure

    def verdict(self, records: list[Record]) -> str | None:
        """The last effective rank against the depth."""
        if not records:
            return None
        rank, depth = float(records[-1].values["rank"]), float(records[-1].values["depth"].float().mean())
        if depth == 1:
            return "one platter: nothing to fuse"
        share = rank / depth
        what = (
            "nearly all platters count"
            if share > 0.8
            else "part of the head is lost"
            if share > 0.3
            else "platters have become nearly the same"
        )
        return f"fusion has effective rank {rank:.2f} of {depth:g}: {what}"
