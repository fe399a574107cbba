"""Gradients are finite, reach every parameter, and agree with differences: a path that is cut trains nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor

from lot.testing.case import Case, output
from lot.testing.draws import normal, shifted, spread
from lot.testing.failure import NotApplicable, largest, require, require_finite
from lot.testing.settings import (
    SETTINGS,
    Setting,
    floating_parameters,
    inert_parameters,
    mode_name,
    run_in,
    usual_length,
)

EPSILON = 1e-4
"""Half the step of a central difference, in units of the spread of what is moved."""


def gradients(case: Case) -> None:
    """Gradients are finite, for an input of zeros too, and every parameter that is not inert gets one."""
    for training in (False, True):
        for what, perturbed, scale in (("initial", False, 1.0), ("perturbed", True, 1.0), ("perturbed", True, 0.0)):
            module = case.module(perturbed=perturbed, training=training)
            x = case.inputs(2, usual_length(case), scale=scale)
            if x.is_floating_point():
                x.requires_grad_()
            y = output(module, x, case.context())
            require(
                y.requires_grad, "output", expected="a graph back to the parameters", got="none", cause="a detach()"
            )
            where = f"{what} parameters, {mode_name(training)}, input of scale {scale:g}"
            require_finite(
                y, f"output ({where})", cause="a division by zero, or a root, power or exponential that is out of range"
            )
            torch.autograd.backward(y, normal(tuple(y.shape), "cotangent", dtype=y.dtype, device=case.device))
            for name, p in [("the input", x), *module.named_parameters()]:
                if p.grad is not None:
                    require_finite(
                        p.grad,
                        f"gradient of {name} ({where})",
                        cause="the derivative of a root, norm or angle at 0; use torch.where to give it a safe argument",
                    )
    _require_gradients(case)


def _require_gradients(case: Case) -> None:
    """Every trainable parameter that is not inert, and the input, get a gradient in training at one of the steps."""
    module = case.module()
    inert = inert_parameters(module)
    wanted = {name for name, p in module.named_parameters() if p.requires_grad and name not in inert}
    attention = case.kind == "attention"
    waiting = wanted | ({"the input"} if attention else set())
    for setting in (s for s in SETTINGS if s.training):
        if not waiting:
            return
        module.zero_grad()
        x = case.inputs(2, usual_length(case))
        if attention:
            x.requires_grad_()
        y = run_in(setting, case, module, x)
        torch.autograd.backward(y, normal(tuple(y.shape), "cotangent", dtype=y.dtype, device=case.device))
        given = {name for name, p in module.named_parameters() if p.grad is not None and largest(p.grad) > 0}
        waiting -= given | ({"the input"} if x.grad is not None and largest(x.grad) > 0 else set())
    require(
        not waiting,
        "gradient of the output",
        expected="one for every parameter that is not inert",
        got=f"none for {', '.join(sorted(waiting))}",
        cause="a detach(), a tensor made with .data or under no_grad(), or a parameter that no computation reads",
    )


def finite_differences(case: Case) -> None:
    """In training, gradients agree with central differences in float64, for the input and for each parameter alone.

    Where a module declares `straight_through`, those that do not agree are told.
    """
    module = case.module(dtype=torch.float64)
    inert = inert_parameters(module)
    x = case.inputs(2, min(8, case.dims.max_len), dtype=torch.float64)
    tensors = {
        name: cast(Tensor, p) for name, p in floating_parameters(module) if p.requires_grad and name not in inert
    }
    if x.is_floating_point():
        tensors["the input"] = x.requires_grad_()

    setting = Setting(training=True, step=0)
    y = run_in(setting, case, module, x)
    weight = normal(tuple(y.shape), "cotangent", dtype=torch.float64, device=case.device)
    found = torch.autograd.grad(y, list(tensors.values()), weight, allow_unused=True)
    noise = 1e-6 * largest(y) * float(weight.norm())
    compared = 0
    approximate = cast(str, module.straight_through)
    case.findings.straight_through = approximate
    apart = []
    for (name, tensor), g in zip(tensors.items(), found, strict=True):
        if g is None:
            continue  # the check `gradients` reports it
        direction = spread(tensor) * normal(
            tuple(tensor.shape), "direction", name, dtype=torch.float64, device=case.device
        )

        def at(distance: float, tensor: Tensor = tensor, direction: Tensor = direction) -> Tensor:
            with torch.no_grad(), shifted(tensor, distance * direction):
                return run_in(setting, case, module, x)

        if not _resolves(y.detach(), at):
            continue
        compared += 1
        numeric = float(((at(EPSILON) - at(-EPSILON)) * weight).sum()) / (2 * EPSILON)
        analytic = float((g * direction).sum())
        agrees = abs(numeric - analytic) <= 0.01 * max(abs(numeric), abs(analytic)) + noise
        if approximate and not agrees:
            apart.append(name)
            continue
        require(
            agrees,
            f"derivative of the output along a direction of {name} ({setting})",
            expected=f"{numeric:.6g} (central difference)",
            got=f"{analytic:.6g} (backward)",
            cause="a path that is detached, a wrong backward of a custom operator, or a straight-through estimator that "
            "is not declared in `straight_through`",
        )
    if approximate:
        case.tell(
            f"straight-through gradients ({approximate}): other than differences for {', '.join(apart) or 'nothing'}"
        )
    if not compared:
        raise NotApplicable("given float64, it computes in a narrower type: differences would show rounding only")


def _resolves(y: Tensor, at: Callable[[float], Tensor]) -> bool:
    """Whether shifts far below the resolution of float32 move the output in proportion: then all is float64."""
    one, two = at(2.0**-38) - y, at(2.0**-37) - y
    return largest(two) > 0 and largest(two - 2 * one) <= 0.05 * largest(two)
