"""Trajectory stability: whether small differences grow or shrink on their way through the layers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lot import Diagnostic, Probe, Record
from lot.figure import new_figure
from lot.nn import first_rows
from lot_wave.config import TrajectoryConfig
from lot_wave.ops.lyapunov import Map, local_exponents

if TYPE_CHECKING:
    from matplotlib.figure import Figure


SIGMAS = 2.0
"""Standard errors by which an exponent must differ from 0 to count as growth or decay."""


class TrajectoryStability(Diagnostic):
    """The largest Lyapunov exponent of the residual stream through depth, in nats per block.

    A perturbation of 1/1000 of the stream after the embedding is followed through the blocks and renormalized after
    each. Depth is finite, so this is a finite-time exponent; its error is that of the mean over sequences and
    directions.
    """

    needs = frozenset({"hidden"})
    headline = "lyapunov"

    def __init__(self, config: TrajectoryConfig) -> None:
        self.config = config

    def measure(self, probe: Probe) -> dict[str, Tensor]:
        """lyapunov, error: () mean and standard error, in nats per block.

        stream: () growth of the stream's own norm, likewise. rates (L, n) of each block, for n sequences and
        directions; growth (L,) of the norm in each block, in nats.
        """
        n = min(self.config.examples, probe.batch.inputs.shape[0])
        x = probe.output.signals["hidden"][0][:n].float()
        ctx = first_rows(probe.ctx, n)

        def through(block: torch.nn.Module) -> Map:
            return lambda state: block(state, ctx)[0]

        blocks: list[Map] = [through(block) for block in probe.model.layers]
        found = []
        for _ in range(self.config.directions):
            rates, norms = local_exponents(blocks, x, epsilon=self.config.epsilon, generator=probe.generator)
            found.append(rates)
        rates = torch.cat(found, dim=1)  # (L, n directions)
        growth = norms.clamp(min=torch.finfo(norms.dtype).tiny).log().diff(dim=0).mean(1)
        each = rates.mean(0)
        error = each.std() / math.sqrt(len(each)) if len(each) > 1 else torch.zeros(())
        return {
            "lyapunov": each.mean(),
            "error": error,
            "stream": growth.mean(),
            "rates": rates,
            "growth": growth,
        }

    def draw(self, records: list[Record]) -> Figure | None:
        """Growth through depth at the last record, and the exponent over training."""
        if not records:
            return None
        step, values = records[-1]
        figure, (depth, training) = new_figure(1, 2, size=(10.0, 3.8))
        path = torch.cat((torch.zeros(1, values["rates"].shape[1]), values["rates"].cumsum(0)))  # (L + 1, n)
        layers = range(len(path))
        for index, curve in enumerate(path.T):
            depth.plot(
                layers, curve, color="#0072B2", lw=0.7, alpha=0.35, label="perturbations" if index == 0 else None
            )
        depth.plot(layers, path.mean(1), color="#0072B2", marker="o", ms=4, label="their mean")
        norm = torch.cat((torch.zeros(1), values["growth"].cumsum(0)))
        depth.plot(layers, norm, color="#D55E00", marker="s", ms=4, ls="--", label="the stream itself")
        depth.axhline(0, color="#4D4D4D", lw=0.8)
        depth.set_title(f"Through depth, step {step}")
        depth.set(xlabel="blocks passed", ylabel="ln(size / first size) (nats)")
        depth.set_xticks(list(layers)[:: -(-len(path) // 13)])
        depth.legend(loc="best")
        steps = [record.step for record in records]
        means = torch.stack([record.values["lyapunov"] for record in records])
        errors = SIGMAS * torch.stack([record.values["error"] for record in records])
        training.fill_between(steps, means - errors, means + errors, color="#0072B2", alpha=0.2, lw=0)
        training.plot(steps, means, color="#0072B2", marker="o" if len(steps) < 25 else None, ms=4)
        training.axhline(0, color="#4D4D4D", lw=0.8)
        low, high = training.get_ylim()
        margin = 0.12 * (high - low)
        training.set_ylim(min(low, -margin), max(high, margin))
        for side, name, va in ((1, "differences grow", "bottom"), (-1, "differences shrink", "top")):
            training.annotate(name, (0.99, 0), xycoords=("axes fraction", "data"), xytext=(0, 3 * side),
                              textcoords="offset points", ha="right", va=va, fontsize=8, color="#4D4D4D")  # fmt: skip
        training.set_title("Over training")
        training.set(xlabel="step", ylabel=r"Lyapunov exponent $\lambda$ (nats per block)")
        return figure

    def verdict(self, records: list[Record]) -> str | None:
        """The sign of the exponent, with its error and what it means."""
        if not records:
            return None
        values = records[-1].values
        exponent, error, L = float(values["lyapunov"]), float(values["error"]), len(values["rates"])
        told = f"Lyapunov exponent {exponent:+.3f} ± {error:.3f} nats per block (threshold 0 by {SIGMAS:g} standard errors)"
        factor = math.exp(exponent * L)
        rounding = torch.finfo(torch.float32).eps / self.config.epsilon  # of a state, beside its perturbation
        if abs(exponent) <= max(SIGMAS * error, rounding):
            return f"{told}: neutral, small differences keep their size"
        if exponent > 0:
            relative = exponent - float(values["stream"])
            beside = "more" if relative > 0 else "less"
            return f"{told}: small differences grow {factor:.3g}-fold over {L} blocks, {beside} than the stream itself"
        return f"{told}: stable, small differences shrink to {factor:.3g} of their size over {L} blocks"
