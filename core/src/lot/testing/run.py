"""Running the checks of a component."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from lot.errors import BadInput
from lot.plugins.component import Component
from lot.testing.case import Case, CheckFunction
from lot.testing.failure import KitFailure, NotApplicable

Check = Callable[..., None]
"""`check(component, options=None, **setting)`: returns in silence or raises KitFailure or NotApplicable."""
Outcome = KitFailure | str | None
"""None: passed. A text: skipped, and why. Else what is wrong."""

CHECKED_KINDS = ("attention", "embedding", "optimizer", "loss", "task", "diagnostic")
FIRST = "builds"
"""The check without which no other one means anything."""


def checks(kind: str) -> dict[str, Check]:
    """The checks of a kind by name, in the order in which they run. Raises BadInput for a kind that has none.

    Each is called as `check(component, options)`; further keywords are those of `lot.testing.Case`.
    """
    return {name: _standalone(kind, function) for name, function in _functions(kind).items()}


def run_checks(
    component: Component, options: Mapping[str, Any] | None = None, *, skip: Collection[str] = (), **setting: Any
) -> Iterator[tuple[str, Outcome]]:
    """Run every check of `component` and yield each name with its outcome as soon as it is known.

    component: as the registry gives it, its `kind` filled in. options: of the component. skip: names of checks to leave
    out; say why in a comment. setting: `dims`, `device` and the other fields of `lot.testing.Case`. Ends early when the
    component cannot be built. Raises BadInput for options that the component does not take.
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
    """Run every check; what was skipped, and why. Raises KitFailure that lists all that failed."""
    import attrs

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
    if kind not in CHECKED_KINDS:
        raise BadInput(where="component.kind", expected=" or ".join(CHECKED_KINDS), got=repr(kind))
    module = importlib.import_module(f"lot.testing.kinds.{kind}")
    functions: dict[str, CheckFunction] = getattr(module, f"{kind.upper()}_CHECKS")
    return functions


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
    """What is wrong, or None. Whatever a component raises is its failure, not the kit's."""
    try:
        function(case)
    except KitFailure as told:
        return told
    except NotApplicable:
        raise
    except Exception as error:
        failure = KitFailure(f"raised {type(error).__name__}: {error}")
        failure.__cause__ = error
        return failure
    return None
