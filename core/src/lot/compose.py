"""Putting a run together, and refusing, before anything is touched, what does not fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lot.circular import order_parameter
from lot.config import ChosenDiagnostic, ChosenLoss, Config
from lot.contracts import Batch, Context, Diagnostic, Loss, Output, Task
from lot.errors import BadInput
from lot.model import Decoder, build_model, build_task, leaks
from lot.registry import registry

TRUNK_SIGNALS = frozenset({"hidden"})


class Objective:
    """The sum of all loss terms, each under its weight and schedule.

    want: the signals that the terms and their schedules read, the optional ones as far as they are among `given`. A term
    whose weight is 0 for ever wants nothing.
    """

    def __init__(self, losses: Mapping[str, ChosenLoss], given: frozenset[str]) -> None:
        self.losses: dict[str, tuple[ChosenLoss, Loss]] = {}
        for name, chosen in losses.items():
            if chosen.weight or chosen.schedule is not None:
                self.losses[name] = (chosen, _create(f"losses.{name}", chosen))
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
                weighted = weighted * schedule.factor_of(mean_order(output.signals["phase"]))
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


def mean_order(phases: Mapping[int, Tensor]) -> Tensor:
    """R () averaged over batch, positions and layers: over the heads of (B, H, T), over each head's oscillators of (B, H, T, O)."""
    orders = [order_parameter(phase, dim=1 if phase.dim() == 3 else -1).mean() for phase in phases.values()]
    return torch.stack(orders).mean()


@dataclass
class Composition:
    """All parts of a run, on the CPU, fitting each other."""

    config: Config
    task: Task
    model: Decoder
    objective: Objective
    diagnostics: dict[str, tuple[ChosenDiagnostic, Diagnostic]]
    leak: bool

    @property
    def attention_distributions(self) -> set[str]:
        """The distributions that the attentions of the model come from."""
        return {self.config.attention_of(layer).component.distribution for layer in range(self.config.model.layers)}

    @property
    def parameters(self) -> int:
        """Number of trainable numbers."""
        return sum(p.numel() for p in self.model.parameters() if p.requires_grad)


def compose(config: Config) -> Composition:
    """The parts of the run that `config` describes. Raises BadInput for what does not fit."""
    objective = Objective(config.losses, signals_given(config))
    diagnostics = {
        name: (chosen, _create(f"diagnostics.{name}", chosen)) for name, chosen in config.diagnostics.items()
    }
    for name in objective.losses:
        _check_signals(config, f"loss {name}", objective.needs(name))
    for name, (_, diagnostic) in diagnostics.items():
        _check_signals(config, f"diagnostic {name}", diagnostic.needs)
    task = build_task(config)
    model = build_model(config, task)
    model.set_want(objective.want)
    _check_spread(config, task, model, objective)
    return Composition(config, task, model, objective, diagnostics, leaks(config, task, model))


def _check_spread(config: Config, task: Task, model: Decoder, objective: Objective) -> None:
    """Refuse to spread sequences over processes where they come out unequal, or where a part could not do a part of the work."""
    span = config.train.context_parallel
    if span == 1:
        return
    if task.seq_len % span:
        raise BadInput(
            where="train.context_parallel", expected=f"a divisor of the task's {task.seq_len} tokens", got=span
        )
    for layer, attention in enumerate(model.attentions):
        try:
            attention.check_spread(task.seq_len // span, span)
        except BadInput as error:
            raise error.under(config.attention_path(layer)) from None
    for name, (_, loss) in objective.losses.items():
        if not loss.per_target:
            raise BadInput(
                "this loss needs whole sequences",
                where=f"losses.{name}",
                fix="leave it out, or set train.context_parallel=1",
            )


def _create(path: str, chosen: Any) -> Any:
    try:
        return chosen.component.create(chosen.options)
    except BadInput as error:
        raise error.under(path) from None


def signals_given(config: Config) -> frozenset[str]:
    """The signals that some part of this model can give."""
    given = TRUNK_SIGNALS | config.embed.component.emits
    for layer in range(config.model.layers):
        given |= config.attention_of(layer).component.emits
    return given


def _check_signals(config: Config, who: str, needs: frozenset[str]) -> None:
    """Refuse a signal that no part of this model gives."""
    for signal in sorted(needs - signals_given(config)):
        givers = [
            f"{kind} {component.name}"
            for kind in ("attention", "embedding")
            for component in registry().components(kind)
            if signal in component.emits
        ]
        names = " and ".join(sorted({config.attention_of(layer).name for layer in range(config.model.layers)}))
        hint = f"given by {', '.join(givers)}" if givers else "nothing that is installed gives it"
        raise BadInput(
            f"{who} needs the signal {signal!r}; attention {names} and embedding {config.embed.name} give none",
            fix=hint,
        )
