"""Every part acts: changing it moves the output. A mechanism whose parts do nothing passes every other check."""

from __future__ import annotations

import contextlib

import torch
from torch import Tensor

from lot.testing.case import Case
from lot.testing.draws import normal, shifted, spread
from lot.testing.failure import KitFailure, largest, require
from lot.testing.settings import (
    SETTINGS,
    Setting,
    floating_parameters,
    inert_parameters,
    mode_name,
    run_in,
    usual_length,
)

MOVED = 1e-6
"""A part acts when resampling it moves the output by more than this, relative to the largest output."""
SMALL = 1e-3
"""A part whose effect is less than this is told, with its size."""
ROUNDING = 2.0**-24
"""Half a unit in the last place of float32 numbers near 1."""
ABOVE_ROUNDING = 32.0
"""... and by more than this many times what rounding everything to float32 would move it."""


@torch.no_grad()
def ablation(case: Case) -> None:
    """In float64, resampling any parameter moves the output, an inert one does not, and `ablate` moves it too."""
    reference = _Reference(case)
    reference.prepare(SETTINGS[:2])
    module = reference.module
    inert = inert_parameters(module)
    case.findings.inert |= inert
    for name, p in floating_parameters(module):
        if name in inert:
            _require_inert(reference, name, p)
        else:
            _require_acting(reference, name, p)
    _require_state_acting(reference)
    _tell_modes(reference)


class _Reference:
    """A perturbed float64 module, its output in each setting, and how far that must move to count as moved."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.module = case.module(dtype=torch.float64)
        self.inputs = case.inputs(2, usual_length(case), dtype=torch.float64)
        self._known: dict[Setting, tuple[Tensor, float]] = {}

    def base(self, setting: Setting) -> tuple[Tensor, float]:
        """The output (B, T, D) before anything is changed, and the distance above which another one has moved."""
        if setting not in self._known:
            y = self.run(setting)
            self._known[setting] = y, max(MOVED * largest(y), ABOVE_ROUNDING * self._rounding(setting, y))
        return self._known[setting]

    def run(self, setting: Setting, inputs: Tensor | None = None) -> Tensor:
        """The output (B, T, D) of the module as it is now; default inputs: those of the reference."""
        return run_in(setting, self.case, self.module, self.inputs if inputs is None else inputs)

    def _rounding(self, setting: Setting, y: Tensor) -> float:
        """How far rounding parameters and inputs to float32 moves the output.

        A module that computes in float32 whatever it is given moves by about as much when an idle part changes.
        """

        def jitter(tensor: Tensor, name: str) -> Tensor:
            signs = normal(tuple(tensor.shape), "rounding", name, dtype=tensor.dtype, device=tensor.device).sign()
            return ROUNDING * tensor * signs

        inputs = self.inputs
        if inputs.is_floating_point():
            inputs = inputs + jitter(inputs, "the input")
        with contextlib.ExitStack() as stack:
            for name, p in floating_parameters(self.module):
                stack.enter_context(shifted(p, jitter(p, name)))
            z = self.run(setting, inputs)
        return largest(z - y)

    def moves(self, setting: Setting) -> tuple[bool, float, float]:
        """Whether the module, as it is now, gives another output than at first; by how much, and the threshold."""
        y, threshold = self.base(setting)
        distance = largest(self.run(setting) - y)
        return distance > threshold, distance, threshold

    def prepare(self, settings: tuple[Setting, ...]) -> None:
        """Run once in `settings` before anything is changed."""
        for setting in settings:
            self.base(setting)


def _resampled(name: str, p: Tensor) -> shifted:
    """`p` drawn anew: moved by as much as two draws of `perturb` lie apart."""
    draw = normal(tuple(p.shape), "resample", name, dtype=p.dtype, device=p.device)
    return shifted(p, 2**0.5 * spread(p) * draw)


def _require_acting(reference: _Reference, name: str, p: Tensor) -> None:
    """The output moves in one of the settings at least. How far, and whether in one mode only, is told."""
    best = (0.0, 0.0, SETTINGS[0])
    effects: dict[bool, float] = {}  # by mode, relative to the largest output
    for setting in SETTINGS:
        if effects.get(setting.training):
            continue
        reference.prepare((setting,))
        with _resampled(name, p):
            moved, distance, threshold = reference.moves(setting)
        require(distance == distance, f"output after {name} was resampled", expected="finite numbers", got="NaN")
        if moved:
            effects[setting.training] = distance / (largest(reference.base(setting)[0]) or 1.0)
        best = max(best, (distance, threshold, setting), key=lambda item: item[0])
    if not effects:
        raise KitFailure(
            f"resampling {name}",
            expected=f"the output to move by more than {best[1]:.3g} ({best[2]})",
            got=f"{best[0]:.3g}, which is rounding",
            cause="a parameter that nothing reads, or a term that softmax or a norm cancels (one number for all keys of a "
            "query); where it cannot act in this configuration, name it in `inert`",
        )
    _tell_effect(reference.case, f"resampling {name}", max(effects.values()), name)
    if len(effects) == 1:
        (training,) = effects
        reference.case.tell(f"{name} acts in {mode_name(training)} only")


def _tell_effect(case: Case, what: str, size: float, name: str) -> None:
    case.findings.effects[name] = size
    if size < SMALL:
        case.tell(f"{what} moves the output by {size:.1g} of its largest value: less than {SMALL:g}, a small effect")


def _tell_modes(reference: _Reference) -> None:
    """Tell how far training and evaluation lie apart."""
    evaluation, training = (reference.base(setting)[0] for setting in SETTINGS[:2])
    size = largest(training - evaluation) / (largest(evaluation) or 1.0)
    if size > MOVED:
        reference.case.tell(f"training and evaluation give outputs that differ by {size:.2g} of the largest")


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
    """`ablate`, where the module has one, changes the output while it lasts, and only then."""
    module, device = reference.module, reference.case.device
    ablate = getattr(module, "ablate", None)
    if ablate is None:
        return
    setting = SETTINGS[0]
    with ablate(torch.Generator().manual_seed(1)):
        moved, distance, threshold = reference.moves(setting)
    require(
        largest(reference.run(setting) - reference.base(setting)[0]) == 0,
        "output after ablate() has ended",
        expected="the same as before ablate()",
        got="another one",
        cause="state that the context manager does not restore",
    )
    if moved:
        size = distance / (largest(reference.base(setting)[0]) or 1.0)
        _tell_effect(reference.case, "ablate()", size, "ablate()")
        return
    if inert_parameters(module):
        return  # a declared no-op: its parameters are named, and tables show it
    raise KitFailure(
        f"ablate(): randomizing the mechanism's state on {device}",
        expected=f"the output to move by more than {threshold:.3g}",
        got=f"{distance:.3g}, which is rounding",
        cause="a state that does not reach the output, or a term that softmax cancels",
    )
