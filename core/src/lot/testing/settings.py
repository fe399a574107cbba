"""In which mode and at which step a module is run, and which of its parameters have to act: shared by several properties."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

from torch import Tensor, nn

from lot.testing.case import Case, output
from lot.testing.failure import require

STEPS = (0, 1, 50, 10**6)
"""Optimizer steps: a schedule may switch a part off at some of them, but not at all of them."""
LENGTH = 24


@dataclass(frozen=True)
class Setting:
    """How a module is run: its mode, and the optimizer step that the context tells it."""

    training: bool
    step: int

    def __str__(self) -> str:
        return f"{mode_name(self.training)}, step {self.step}"


SETTINGS = tuple(Setting(training, step) for step in STEPS for training in (False, True))


def mode_name(training: bool) -> str:
    """The mode, for a message."""
    return "training mode" if training else "evaluation mode"


def usual_length(case: Case) -> int:
    """Tokens of a sequence, as many as the model of the case allows."""
    return min(LENGTH, case.dims.max_len)


def run_in(setting: Setting, case: Case, module: nn.Module, inputs: Tensor) -> Tensor:
    """y (B, T, D) of one pass of `module` in `setting`."""
    return output(module.train(setting.training), inputs, case.context(step=setting.step))


def inert_parameters(module: nn.Module) -> frozenset[str]:
    """The names that a module declares inert. Raises KitFailure for a name that no parameter has."""
    inert = cast("frozenset[str]", getattr(module, "inert", frozenset()))
    unknown = sorted(inert - {name for name, _ in module.named_parameters()})
    require(not unknown, "inert", expected="names of parameters", got=", ".join(unknown), cause="a renamed parameter")
    return inert


def floating_parameters(module: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """The parameters of a floating-point type, by name."""
    return ((name, p) for name, p in module.named_parameters() if p.is_floating_point())
