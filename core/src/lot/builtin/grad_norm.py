"""Gradient norm: the first thing to look at where training is unstable."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lot.contracts import Diagnostic, Probe, Record
from lot.figure import new_figure
from lot.options.declare import NoOptions

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class GradNorm(Diagnostic):
    """The Euclidean norm of the gradient of the objective: of the whole model, and of each block."""

    def __init__(self, config: NoOptions) -> None:
        pass

    def measure(self, probe: Probe) -> dict[str, Tensor]:
        """`total`: (); `blocks`: (L,), in order of depth."""
        squares: dict[str, Tensor] = {}
        for name, gradient in probe.gradients().items():
            group = name.split(".")[1] if name.startswith("blocks.") else "rest"
            squares[group] = (
                squares.get(group, torch.zeros((), device=gradient.device)) + gradient.float().square().sum()
            )
        blocks = [squares[key] for key in sorted((key for key in squares if key != "rest"), key=int)]
        measured = {"total": torch.stack(list(squares.values())).sum().sqrt()}
        if blocks:
            measured["blocks"] = torch.stack(blocks).sqrt()
        return measured

    def draw(self, records: list[Record]) -> Figure | None:
        """Norms over training: the whole model, and a line per block."""
        if not records:
            return None
        figure, (axes,) = new_figure()
        steps = [record.step for record in records]
        axes.plot(steps, [float(record.values["total"]) for record in records], color="black", label="model")
        if all("blocks" in record.values for record in records):
            for layer in range(len(records[0].values["blocks"])):
                axes.plot(steps, [float(record.values["blocks"][layer]) for record in records], label=f"block {layer}")
        axes.set(title="Gradient norm", xlabel="step", ylabel="Euclidean norm", yscale="log")
        axes.legend(ncols=2)
        return figure
