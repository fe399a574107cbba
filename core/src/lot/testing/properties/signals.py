"""The signals that a module gives are what losses and diagnostics rely on: wanted, declared, of the right shape."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lot.contracts import Context
from lot.signals import SIGNALS
from lot.testing.case import Case, call
from lot.testing.failure import KitFailure, largest, require, require_close, require_finite


def signals(case: Case) -> None:
    """A module gives only signals that are wanted and declared, in the shapes of the table, with their graph; y stays."""
    B, T = 2, min(9, case.dims.max_len)
    x, ctx = case.inputs(B, T), case.context()
    emits = case.component.emits
    module = case.module()
    plain, given = call(module, x, ctx)
    require(
        not given,
        "signals when none is wanted",
        expected="none",
        got=_names(given),
        cause="a signal that is computed without a look at `self.want`",
    )
    everything = emits | SIGNALS.keys() | {"no_such_signal"}
    undeclared = sorted(_give(module, everything, x, ctx)[1].keys() - emits)
    require(
        not undeclared,
        "signals",
        expected=f"only those that the component emits ({_names(emits)})",
        got=", ".join(undeclared),
        cause="Component(emits=...) that forgets a signal",
    )
    for name in sorted(emits):
        y, given = _give(module, {name}, x, ctx)
        others = sorted(given.keys() - {name})
        require(
            not others,
            f"signals when only {name} is wanted",
            expected=name,
            got=_names(given),
            cause="`if self.want` where `if NAME in self.want` is meant",
        )
        require_close(
            y, plain, 1e-5, f"y when {name} is wanted", cause="another formula on the path that computes the signal"
        )
        if name in given:
            _check_signal(case, module, name, given[name], {"B": B, "T": T}, x, ctx)
    if emits and not any(name in _give(module, emits, x, ctx)[1] for name in emits):
        raise KitFailure("signals", expected=f"at least one of {_names(emits)} when all are wanted", got="none")


def _names(names: Any) -> str:
    return ", ".join(sorted(names)) or "none"


def _give(module: nn.Module, want: Any, x: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
    module.want = frozenset(want)  # type: ignore[assignment]
    result = call(module, x, ctx)
    module.want = frozenset()  # type: ignore[assignment]
    return result


def _check_signal(
    case: Case, module: nn.Module, name: str, value: Tensor, sizes: dict[str, int], x: Tensor, ctx: Context
) -> None:
    require(isinstance(value, Tensor), f"signal {name}", expected="a tensor", got=type(value).__name__)
    table = case.signal(name)
    problem = table.problem(value.shape, {**case.sizes, **sizes}) if table else None
    require(problem is None, f"shape of the signal {name}", expected=str(problem), got=str(tuple(value.shape)))
    require(
        value.is_floating_point(), f"dtype of the signal {name}", expected="a floating-point type", got=str(value.dtype)
    )
    require_finite(value, f"signal {name}")
    if not value.requires_grad:
        other = case.module(seed=17)
        for p in other.parameters():
            p.data.add_(0.1)
        changed = _give(other, {name}, case.inputs(*x.shape[:2], "another"), ctx)[1][name]
        require(
            torch.equal(changed, value),
            f"signal {name}",
            expected="its autograd graph, for it depends on the input or the parameters",
            got="a tensor without one",
            cause="detach() or no_grad(); a loss on this signal could not train anything",
        )
    if name == "attention" and getattr(module, "causal", False):
        future = largest(value.triu(1))
        require(
            future == 0,
            "signal attention of a causal module above the diagonal",
            expected="0",
            got=f"up to {future:.3g}",
        )
