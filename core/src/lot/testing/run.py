"""Runs the checks of a component: one by one, or all of them with one error that lists everything that is wrong."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import attrs

from lot.errors import BadInput
from lot.plugins.component import Component
from lot.testing.case import Case, CheckFunction
from lot.testing.failure import KitFailure, NotApplicable
from lot.testing.kinds.attention import ATTENTION_CHECKS
from lot.testing.kinds.diagnostic import DIAGNOSTIC_CHECKS
from lot.testing.kinds.embedding import EMBEDDING_CHECKS
from lot.testing.kinds.loss import LOSS_CHECKS
from lot.testing.kinds.mlp import MLP_CHECKS
from lot.testing.kinds.model import MODEL_CHECKS
from lot.testing.kinds.optimizer import OPTIMIZER_CHECKS
from lot.testing.kinds.task import TASK_CHECKS

Check = Callable[..., None]
"""`check(component, options=None, **setting)`: returns in silence, or raises KitFailure or NotApplicable."""
Outcome = KitFailure | str | None
"""None: the check passed. A text: it was skipped, for this reason. A KitFailure: what is wrong."""

CHECKS: dict[str, dict[str, CheckFunction]] = {
    "attention": ATTENTION_CHECKS,
    "embedding": EMBEDDING_CHECKS,
    "mlp": MLP_CHECKS,
    "model": MODEL_CHECKS,
    "optimizer": OPTIMIZER_CHECKS,
    "loss": LOSS_CHECKS,
    "task": TASK_CHECKS,
    "diagnostic": DIAGNOSTIC_CHECKS,
}
"""The checks by kind and name, in the order in which they run."""
CHECKED_KINDS = tuple(CHECKS)
FIRST = "builds"
"""The check without which no other check means anything."""


def checks(kind: str) -> dict[str, Check]:
    """The checks of a kind by name, in the order in which they run. Raises BadInput for a kind that has none.

    Each is called as `check(component, options)`, with the further keywords of `run_checks`; its docstring says what it
    shows. It returns in silence, or raises KitFailure or NotApplicable.
    """
    return {name: _standalone(kind, function) for name, function in _functions(kind).items()}


def run_checks(
    component: Component, options: Mapping[str, Any] | None = None, *, skip: Collection[str] = (), **setting: Any
) -> Iterator[tuple[str, Outcome]]:
    """Run every check of `component` and yield each name with its outcome as soon as it is known.

    component: as the registry gives it, its `kind` filled in. options: of the component.
    skip: names of checks to leave out; say why in a comment where you call this.
    setting: as in `check_attention` and its siblings: `dims`, `device`, `signals`, `attention`, `embedding`.
    outcome: None where the check passed, a text that says why it was skipped, or a KitFailure.

    Ends early where the component cannot be built. Raises BadInput for options that the component does not take, and for
    a name in `skip` that no check has.
    """
    functions = _functions(component.kind)
    for name in skip:
        if name not in functions:
            raise BadInput(where="skip", expected=f"names of checks: {', '.join(functions)}", got=name)
    options = dict(options or {})
    component.configure(**options)
    case = Case(component, component.kind, options, **setting)
    for name, function in functions.items():
        outcome = "skipped: on request" if name in skip else _outcome(function, case)
        yield name, outcome
        if name == FIRST and isinstance(outcome, KitFailure):
            return


def check(
    kind: str, component: Component, options: Mapping[str, Any], *, skip: Collection[str], **setting: Any
) -> dict[str, str]:
    """Run every check; the names of those that were skipped, with the reason. Raises KitFailure that lists all failures."""
    if component.kind not in ("", kind):
        raise BadInput(
            where="component", expected=f"one of kind {kind}", got=f"{component.name}, of kind {component.kind}"
        )
    named = attrs.evolve(component, kind=kind)
    outcomes = dict(run_checks(named, options, skip=skip, **setting))
    failures = {name: outcome for name, outcome in outcomes.items() if isinstance(outcome, KitFailure)}
    if failures:
        lines = [f"{kind} {component.name!r} fails {len(failures)} of {len(outcomes)} checks:"]
        lines += [f"- {name}: {failure}" for name, failure in failures.items()]
        raise KitFailure("\n".join(lines)) from next(iter(failures.values()))
    return {name: outcome for name, outcome in outcomes.items() if isinstance(outcome, str)}


def _functions(kind: str) -> dict[str, CheckFunction]:
    if kind not in CHECKS:
        raise BadInput(where="component.kind", expected=" or ".join(CHECKS), got=repr(kind))
    return CHECKS[kind]


def _standalone(kind: str, function: CheckFunction) -> Check:
    def check(component: Component, options: Mapping[str, Any] | None = None, **setting: Any) -> None:
        failure = _attempt(function, Case(component, kind, dict(options or {}), **setting))
        if failure is not None:
            raise failure

    check.__doc__, check.__name__ = function.__doc__, function.__name__
    return check


def _outcome(function: CheckFunction, case: Case) -> Outcome:
    try:
        return _attempt(function, case)
    except NotApplicable as reason:
        return f"skipped: {reason}"


def _attempt(function: CheckFunction, case: Case) -> KitFailure | None:
    """What is wrong, or None. Any error that a component raises is its own failure, not one of the kit."""
    try:
        function(case)
    except KitFailure as found:
        return found
    except NotApplicable:
        raise
    except Exception as error:
        failure = KitFailure(f"raised {type(error).__name__}: {error}")
        failure.__cause__ = error
        return failure
    return None
