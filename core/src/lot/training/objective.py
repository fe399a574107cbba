"""The objective: every loss term under its weight and schedule, summed over all parts of a batch before it is divided."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lot.circular import order_parameter
from lot.config.schedule import WeightSchedule
from lot.config.schema import ChosenLoss
from lot.contracts import Batch, Context, Loss, Output

Counts = Mapping[str, Tensor]
"""What the sums of a loss are divided by, () each, by the name of the term; `""` is the number of scored targets."""


@dataclass(frozen=True)
class Whole:
    """What the parts of a batch share.

    counts: by loss, over all parts. processes: how many work on a micro-step together. add_up: the sum of a tensor over
    these processes, through which gradients flow back to each.
    """

    counts: Mapping[str, Counts]
    processes: int = 1
    add_up: Callable[[Tensor], Tensor] = lambda value: value


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

    def needs_whole_batch(self, name: str) -> str | None:
        """Why the loss `name` cannot be computed in micro-steps, or None."""
        chosen, loss = self.losses[name]
        if loss.needs_whole_batch:
            return "it is no mean over the batch, but depends on one"
        if chosen.schedule is not None and chosen.schedule.kind == "adaptive":
            return "its adaptive schedule depends on the order parameter of the whole batch"
        return None

    def count(self, batches: Sequence[Batch]) -> dict[str, dict[str, Tensor]]:
        """The counts of all losses, summed over these parts of a batch."""
        found: dict[str, dict[str, Tensor]] = {}
        for name, (_, loss) in self.losses.items():
            for batch in batches:
                for term, count in {"": batch.scored(), **loss.counts(batch)}.items():
                    before = found.setdefault(name, {}).get(term)
                    found[name][term] = count if before is None else before + count
        return found

    def __call__(
        self, output: Output, batch: Batch, ctx: Context, step: int, whole: Whole | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The weighted sum () and every term () by name, before its weight.

        whole: where the batch is a part: the values are then such that their sum over micro-steps, and their mean over
        processes, is that of the whole. The same holds for their gradients.
        """
        whole = Whole(self.count([batch])) if whole is None else whole
        total: Tensor | None = None
        named: dict[str, Tensor] = {}
        for name, (chosen, loss) in self.losses.items():
            terms = self._terms(name, loss(output, batch, ctx), whole)
            schedule = chosen.schedule
            value = sum_terms(terms)
            weighted = value * (chosen.weight if schedule is None else schedule.at(chosen.weight, step))
            if schedule is not None and schedule.kind == "adaptive":
                order = whole.add_up(mean_order(output.signals["phase"]).detach()) / whole.processes
                weighted = weighted * adaptive_factor(schedule, order)
            total = weighted if total is None else total + weighted
            named.update(
                {term if term == name or term not in self.losses else f"{name}/{term}": v for term, v in terms.items()}
            )
        assert total is not None
        return total, named

    def _terms(self, name: str, sums: Mapping[str, Tensor], whole: Whole) -> dict[str, Tensor]:
        """The terms of the loss `name` from the sums over a part."""
        loss, counts = self.losses[name][1], whole.counts[name]
        divisors = {term: counts.get(term, counts[""]).clamp(min=1) for term in sums}
        if loss.needs_whole_batch:
            return loss.finish({term: whole.add_up(value) / divisors[term] for term, value in sums.items()})
        return {term: value / divisors[term] * whole.processes for term, value in sums.items()}


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
