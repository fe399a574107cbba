"""The objective: every loss term under its weight and schedule, summed."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from lot.circular import order_parameter
from lot.config.schedule import WeightSchedule
from lot.config.schema import ChosenLoss
from lot.contracts import Batch, Context, Loss, Output


class Objective:
    """The sum of all loss terms, each under its weight and schedule.

    want: the signals that the terms and their schedules read, the optional ones as far as they are among `given`. A term
    whose weight is 0 for ever wants nothing.
    """

    def __init__(self, losses: Mapping[str, ChosenLoss], given: frozenset[str]) -> None:
        self.losses: dict[str, tuple[ChosenLoss, Loss]] = {}
        for name, chosen in losses.items():
            if chosen.weight or chosen.schedule is not None:
                self.losses[name] = (chosen, chosen.create(f"losses.{name}"))
        self.want: frozenset[str] = frozenset()
        for name in self.losses:
            self.want |= self.needs(name) | (self.losses[name][1].optional & given)

    def needs(self, name: str) -> frozenset[str]:
        """The signals without which the loss `name` or its schedule cannot be computed."""
        chosen, loss = self.losses[name]
        return loss.needs | (chosen.schedule.needs if chosen.schedule else frozenset())

    def __call__(self, output: Output, batch: Batch, ctx: Context, step: int) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted sum () and every term () by name, before its weight."""
        total: Tensor | None = None
        named: dict[str, Tensor] = {}
        for name, (chosen, loss) in self.losses.items():
            terms = loss(output, batch, ctx)
            value = sum_terms(terms)
            schedule = chosen.schedule
            weighted = value * (chosen.weight if schedule is None else schedule.at(chosen.weight, step))
            if schedule is not None and schedule.kind == "adaptive":
                weighted = weighted * adaptive_factor(schedule, mean_order(output.signals["phase"]))
            total = weighted if total is None else total + weighted
            named.update(
                {term if term == name or term not in self.losses else f"{name}/{term}": v for term, v in terms.items()}
            )
        assert total is not None
        return total, named


def sum_terms(terms: Mapping[str, Tensor]) -> Tensor:
    """The sum of the terms of one loss."""
    first, *rest = terms.values()
    for term in rest:
        first = first + term
    return first


def adaptive_factor(schedule: WeightSchedule, order: Tensor) -> Tensor:
    """The factor () of an adaptive schedule at the order parameter R (); no gradient flows into it."""
    return (1.0 + schedule.gain * (order.detach() - schedule.target)).clamp(0.0, schedule.limit)


def mean_order(phases: Mapping[int, Tensor]) -> Tensor:
    """R () averaged over batch, positions and layers: over the heads of (B, H, T), over each head's oscillators of (B, H, T, O)."""
    orders = [order_parameter(phase, dim=1 if phase.dim() == 3 else -1).mean() for phase in phases.values()]
    return torch.stack(orders).mean()
