"""Whether a module's parts act on its output: gradients, finite differences, and ablation."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from lot.testing.case import Case, normal, output, spread
from lot.testing.failure import KitFailure, NotApplicable, largest, require, require_finite

MOVED = 1e-6
"""A part acts when resampling it moves the output by more than this, relative to the largest output."""
ROUNDING = 2.0**-24
"""Half a unit in the last place of float32 numbers near 1."""
ABOVE_ROUNDING = 32.0
"""... and by more than this many times what rounding everything to float32 would move it."""
EPSILON = 1e-4
"""Half the step of a central difference, in units of the spread of what is moved."""
LENGTH = 24
STEPS = (0, 100, 10**6)
"""Optimizer steps: a part may sleep at some of them (a schedule), not at all."""


@dataclass(frozen=True)
class Setting:
    """How a module is run."""

    training: bool
    step: int

    def __str__(self) -> str:
        return f"{'training' if self.training else 'evaluation'} mode, step {self.step}"


SETTINGS = tuple(Setting(training, step) for step in STEPS for training in (False, True))


def _length(case: Case) -> int:
    return min(LENGTH, case.dims.max_len)


def _run(case: Case, module: nn.Module, inputs: Tensor, setting: Setting) -> Tensor:
    return output(module.train(setting.training), inputs, case.context(step=setting.step))


def _inert(module: nn.Module) -> frozenset[str]:
    """The names that a module declares inert. Raises KitFailure for a name that it has not."""
    inert = cast("frozenset[str]", getattr(module, "inert", frozenset()))
    unknown = sorted(inert - {name for name, _ in module.named_parameters()})
    require(not unknown, "inert", expected="names of parameters", got=", ".join(unknown), cause="a renamed parameter")
    return inert


def _floating(module: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    return ((name, p) for name, p in module.named_parameters() if p.is_floating_point())


def gradients(case: Case) -> None:
    """Gradients are finite, for the input zero too, and every parameter that is not inert gets one."""
    for training in (False, True):
        for what, perturbed, scale in (("initial", False, 1.0), ("perturbed", True, 1.0), ("perturbed", True, 0.0)):
            module = case.module(perturbed=perturbed, training=training)
            x = case.inputs(2, _length(case), scale=scale)
            if x.is_floating_point():
                x.requires_grad_()
            y = output(module, x, case.context())
            require(
                y.requires_grad, "output", expected="a graph back to the parameters", got="none", cause="a detach()"
            )
            where = f"{what} parameters, {'training' if training else 'evaluation'} mode, input of scale {scale:g}"
            require_finite(
                y, f"output ({where})", cause="a division by zero or a root, power or exponential out of range"
            )
            torch.autograd.backward(y, normal(tuple(y.shape), "cotangent", dtype=y.dtype, device=case.device))
            for name, p in [("the input", x), *module.named_parameters()]:
                if p.grad is not None:
                    require_finite(
                        p.grad,
                        f"gradient of {name} ({where})",
                        cause="the derivative of a root, norm or angle at 0; take `where` of a safe argument",
                    )
    _require_gradients(case)


def _require_gradients(case: Case) -> None:
    """Every trainable parameter that is not inert, and the input, get a gradient in training at one of the steps."""
    module = case.module()
    inert = _inert(module)
    wanted = {name for name, p in module.named_parameters() if p.requires_grad and name not in inert}
    attention = case.kind == "attention"
    waiting = wanted | ({"the input"} if attention else set())
    for setting in (s for s in SETTINGS if s.training):
        if not waiting:
            return
        module.zero_grad()
        x = case.inputs(2, _length(case))
        if attention:
            x.requires_grad_()
        y = _run(case, module, x, setting)
        torch.autograd.backward(y, normal(tuple(y.shape), "cotangent", dtype=y.dtype, device=case.device))
        given = {name for name, p in module.named_parameters() if p.grad is not None and largest(p.grad) > 0}
        waiting -= given | ({"the input"} if x.grad is not None and largest(x.grad) > 0 else set())
    require(
        not waiting,
        "gradient of the output",
        expected="one for every parameter that is not inert",
        got=f"none for {', '.join(sorted(waiting))}",
        cause="a detach(), a tensor made with .data or no_grad(), or a parameter that nothing reads",
    )


def finite_differences(case: Case) -> None:
    """Gradients in training agree with central differences in float64, for the input and each parameter by itself."""
    module = case.module(dtype=torch.float64)
    inert = _inert(module)
    x = case.inputs(2, min(8, case.dims.max_len), dtype=torch.float64)
    tensors = {name: cast(Tensor, p) for name, p in _floating(module) if p.requires_grad and name not in inert}
    if x.is_floating_point():
        tensors["the input"] = x.requires_grad_()

    setting = Setting(training=True, step=0)
    y = _run(case, module, x, setting)
    weight = normal(tuple(y.shape), "cotangent", dtype=torch.float64, device=case.device)
    found = torch.autograd.grad(y, list(tensors.values()), weight, allow_unused=True)
    noise = 1e-6 * largest(y) * float(weight.norm())
    compared = 0
    for (name, tensor), g in zip(tensors.items(), found, strict=True):
        if g is None:
            continue  # told by `gradients`
        direction = spread(tensor) * normal(
            tuple(tensor.shape), "direction", name, dtype=torch.float64, device=case.device
        )

        def at(distance: float, tensor: Tensor = tensor, direction: Tensor = direction) -> Tensor:
            with torch.no_grad(), _shifted(tensor, distance * direction):
                return _run(case, module, x, setting)

        if not _resolves(y.detach(), at):
            continue
        compared += 1
        numeric = float(((at(EPSILON) - at(-EPSILON)) * weight).sum()) / (2 * EPSILON)
        analytic = float((g * direction).sum())
        require(
            abs(numeric - analytic) <= 0.01 * max(abs(numeric), abs(analytic)) + noise,
            f"derivative of the output along a direction of {name} ({setting})",
            expected=f"{numeric:.6g} (central difference)",
            got=f"{analytic:.6g} (backward)",
            cause="a path that is detached, a wrong backward of a custom operator, or a straight-through estimator",
        )
    if not compared:
        raise NotApplicable("given float64, it computes in a narrower type: differences would be rounding")


def _resolves(y: Tensor, at: Callable[[float], Tensor]) -> bool:
    """Whether shifts far below the resolution of float32 move the output in proportion: then all is float64."""
    one, two = at(2.0**-38) - y, at(2.0**-37) - y
    return largest(two) > 0 and largest(two - 2 * one) <= 0.05 * largest(two)


class _shifted:
    """A context in which `tensor` is moved by `by`, in place; afterwards it holds its former bits."""

    def __init__(self, tensor: Tensor, by: Tensor) -> None:
        self.tensor, self.by = tensor, by

    @torch.no_grad()
    def __enter__(self) -> None:
        self.before = self.tensor.detach().clone()
        self.tensor += self.by

    @torch.no_grad()
    def __exit__(self, *_: object) -> None:
        self.tensor.copy_(self.before)


class _Reference:
    """A perturbed float64 module, its output in each setting, and how far that must move to be moved."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.module = case.module(dtype=torch.float64)
        self.inputs = case.inputs(2, _length(case), dtype=torch.float64)
        self._known: dict[Setting, tuple[Tensor, float]] = {}

    def _base(self, setting: Setting) -> tuple[Tensor, float]:
        if setting not in self._known:
            y = _run(self.case, self.module, self.inputs, setting)
            self._known[setting] = y, max(MOVED * largest(y), ABOVE_ROUNDING * self._rounding(setting, y))
        return self._known[setting]

    def _rounding(self, setting: Setting, y: Tensor) -> float:
        """How far rounding parameters and inputs to float32 moves the output.

        A module that computes in float32, whatever it is given, moves by about as much when an idle part changes.
        """

        def jitter(tensor: Tensor, name: str) -> Tensor:
            signs = normal(tuple(tensor.shape), "rounding", name, dtype=tensor.dtype, device=tensor.device).sign()
            return ROUNDING * tensor * signs

        inputs = self.inputs
        if inputs.is_floating_point():
            inputs = inputs + jitter(inputs, "the input")
        with contextlib.ExitStack() as stack:
            for name, p in _floating(self.module):
                stack.enter_context(_shifted(p, jitter(p, name)))
            z = _run(self.case, self.module, inputs, setting)
        return largest(z - y)

    def moves(self, setting: Setting) -> tuple[bool, float, float]:
        """Whether the module, as it is now, gives another output than at first; by how much, and the threshold."""
        y, threshold = self._base(setting)
        distance = largest(_run(self.case, self.module, self.inputs, setting) - y)
        return distance > threshold, distance, threshold

    def prepare(self, settings: tuple[Setting, ...]) -> None:
        """Run once in `settings` before anything is changed."""
        for setting in settings:
            self._base(setting)


@torch.no_grad()
def ablation(case: Case) -> None:
    """In float64, resampling any parameter moves the output, an inert one does not, and `ablate` moves it too."""
    reference = _Reference(case)
    reference.prepare(SETTINGS[:2])
    module = reference.module
    inert = _inert(module)
    for name, p in _floating(module):
        if name in inert:
            _require_inert(reference, name, p)
        else:
            _require_acting(reference, name, p)
    _require_state_acting(reference)


def _resampled(name: str, p: Tensor) -> _shifted:
    """`p` drawn anew: moved by as much as two draws of `perturb` lie apart."""
    draw = normal(tuple(p.shape), "resample", name, dtype=p.dtype, device=p.device)
    return _shifted(p, 2**0.5 * spread(p) * draw)


def _require_acting(reference: _Reference, name: str, p: Tensor) -> None:
    best = (0.0, 0.0, SETTINGS[0])
    for setting in SETTINGS:
        reference.prepare((setting,))
        with _resampled(name, p):
            moved, distance, threshold = reference.moves(setting)
        require(distance == distance, f"output after {name} was resampled", expected="finite numbers", got="NaN")
        if moved:
            return
        best = max(best, (distance, threshold, setting), key=lambda item: item[0])
    raise KitFailure(
        f"resampling {name}",
        expected=f"the output to move by more than {best[1]:.3g} ({best[2]})",
        got=f"{best[0]:.3g}, which is rounding",
        cause="a parameter that nothing reads, or a term that softmax or a norm cancels (one number for all keys of a "
        "query); where it cannot act in this configuration, name it in `inert`",
    )


def _require_inert(reference: _Reference, name: str, p: Tensor) -> None:
    for setting in SETTINGS[:2]:
        with _resampled(name, p):
            moved, distance, threshold = reference.moves(setting)
        require(
            not moved,
            f"resampling {name}, which is declared inert ({setting})",
            expected=f"the output to move by rounding only, at most {threshold:.3g}",
            got=f"{distance:.3g}",
            cause="a name left in `inert` for a configuration in which the parameter acts",
        )


def _require_state_acting(reference: _Reference) -> None:
    """`ablate`, where there is one, changes the output while it lasts, and only then."""
    module, device = reference.module, reference.case.device
    ablate = getattr(module, "ablate", None)
    if ablate is None:
        return
    setting = SETTINGS[0]
    with ablate(torch.Generator().manual_seed(1)):
        moved, distance, threshold = reference.moves(setting)
    y = _run(reference.case, module, reference.inputs, setting)
    require(
        largest(y - reference._base(setting)[0]) == 0,
        "output after ablate() has ended",
        expected="what it was before",
        got="something else",
        cause="state that the context manager does not restore",
    )
    if moved:
        return
    if _inert(module):
        return  # a declared no-op: its parameters are named, and tables show it
    raise KitFailure(
        f"ablate(): randomizing the mechanism's state on {device}",
        expected=f"the output to move by more than {threshold:.3g}",
        got=f"{distance:.3g}, which is rounding",
        cause="a state that does not reach the output, or a term that softmax cancels",
    )
