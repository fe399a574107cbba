"""The options and the step of an optimizer do what their names say: learning rate, weight decay, one step."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from lot.errors import BadInput
from lot.testing.case import Case
from lot.testing.failure import KitFailure, NotApplicable, require
from lot.testing.specimens.problems import Network, take_step

STEPS = 12
"""Consecutive steps, each of which has to move something."""
TENTH = (4.0, 25.0)
"""How many times shorter the first step is with a tenth of the learning rate: about ten times."""
DECAY = 0.5
LATE = 40
"""Steps after which the learning rate is changed."""


def optimizer_of(case: Case, model: nn.Module) -> torch.optim.Optimizer:
    """The optimizer of the case for a model. Raises KitFailure where the factory gives anything else."""
    optimizer = case.build(model)
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise KitFailure("factory", expected="a torch.optim.Optimizer", got=type(optimizer).__name__)
    return optimizer


def weights(model: nn.Module) -> dict[str, Tensor]:
    """Copies of the parameters, by name."""
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def _moved(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    """The distance of two sets of weights."""
    return float(torch.stack([(a[name] - b[name]).double().square().sum() for name in a]).sum().sqrt())


def _first_step(case: Case, factor: float = 1.0) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Weights before and after one step at `factor` times the learning rates."""
    model = Network()
    optimizer, before = optimizer_of(case, model), weights(model)
    for group in optimizer.param_groups:
        group["lr"] *= factor
    take_step(model, optimizer, 0)
    return before, weights(model)


def rates(case: Case) -> None:
    """A tenth of the learning rate gives about a tenth of the step, and a rate that is set late counts at once."""
    whole, tenth = _moved(*_first_step(case)), _moved(*_first_step(case, 0.1))
    ratio = whole / tenth if tenth else float("inf")
    low, high = TENTH
    require(
        low <= ratio <= high,
        "length of the first step over that at a tenth of the learning rate",
        expected=f"about 10 ({low:g} to {high:g})",
        got=f"{ratio:.3g}",
        cause="a learning rate that is transformed, bounded, or left out of a part of the update",
    )
    ends = []
    for factor in (1.0, 0.5):
        model = Network()
        optimizer = optimizer_of(case, model)
        for step in range(LATE):
            take_step(model, optimizer, step)
        for group in optimizer.param_groups:
            group["lr"] *= factor
        take_step(model, optimizer, LATE)
        ends.append(weights(model))
    require(
        _moved(*ends) > 0,
        f"weights after step {LATE} at half the learning rate from there on",
        expected="others than at the usual one",
        got="the same",
        cause="a learning rate that is kept from an earlier step",
    )


def options(case: Case) -> None:
    """Less of the option `lr` gives a shorter step; the option `weight_decay` pulls weights towards 0."""
    known = {field.name for field in attrs.fields(case.component.config_class)} & {"lr", "weight_decay"}
    if not known:
        raise NotApplicable("it has no option lr and none weight_decay")
    if "lr" in known:
        chosen: Any = case.component.configure(**case.options)
        half = replace(case, options={**case.options, "lr": chosen.lr / 2})
        whole, less = _moved(*_first_step(case)), _moved(*_first_step(half))
        require(
            less < whole,
            f"length of the first step with lr={chosen.lr / 2:g}",
            expected=f"less than the {whole:.3g} with lr={chosen.lr:g}",
            got=f"{less:.3g}",
            cause="an option that is not handed to the groups",
        )
    if "weight_decay" in known:
        _require_decay(case)


def _require_decay(case: Case) -> None:
    ends = []
    for value in (0.0, DECAY):
        try:
            before, after = _first_step(replace(case, options={**case.options, "weight_decay": value}))
        except BadInput:
            return  # its bounds leave such values out
        ends.append(after)
    pull = sum(float(((ends[1][name] - ends[0][name]) * before[name]).sum()) for name in before)
    require(
        pull < 0,
        f"change by weight_decay={DECAY:g} in one step, along the weights",
        expected="a pull towards 0",
        got=f"{pull:.3g}",
        cause="an option that is not read, or a decay with the wrong sign",
    )


def one_step(case: Case) -> None:
    """Every step moves weights, and takes no pass through the model beside the one that it was given."""
    model = Network()
    optimizer = optimizer_of(case, model)
    passes = 0

    def count(*_: Any) -> None:
        nonlocal passes
        passes += 1

    for step in range(STEPS):
        before = weights(model)
        optimizer.zero_grad()
        torch.autograd.backward(model.loss(step))
        hook = nn.modules.module.register_module_forward_pre_hook(count)
        try:
            optimizer.step()
        finally:
            hook.remove()
        require(
            _moved(before, weights(model)) > 0,
            f"weights after step {step}",
            expected="other values",
            got="the same",
            cause="gradients that are gathered over several steps: then a step of a run is none",
        )
    require(
        passes == 0,
        f"passes through modules of the model inside {STEPS} steps",
        expected="0",
        got=passes,
        cause="an optimizer that evaluates the model by itself: it is compared with others that get one pass",
    )
    hooked = [
        n for n, p in model.named_parameters() if p._backward_hooks or getattr(p, "_post_accumulate_grad_hooks", None)
    ]
    if hooked:
        case.tell(f"it changes or reads gradients by hooks on {', '.join(hooked)}")
