"""Runs the checks of a component: one by one, or all of them with one error that lists everything that is wrong."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import attrs

from lot.errors import BadInput
from lot.plugins.component import Component
from lot.testing.case import Case, CheckFunction, fresh_seed
from lot.testing.failure import KitFailure, NotApplicable
from lot.testing.kinds.attention import ATTENTION_CHECKS
from lot.testing.kinds.diagnostic import DIAGNOSTIC_CHECKS
from lot.testing.kinds.embedding import EMBEDDING_CHECKS
from lot.testing.kinds.loss import LOSS_CHECKS
from lot.testing.kinds.mlp import MLP_CHECKS
from lot.testing.kinds.model import MODEL_CHECKS
from lot.testing.kinds.optimizer import OPTIMIZER_CHECKS
from lot.testing.kinds.recorder import RECORDER_CHECKS
from lot.testing.kinds.task import TASK_CHECKS
from lot.testing.place import definition, place_of
from lot.testing.result import CheckResult, KitResult, repeated

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
    "recorder": RECORDER_CHECKS,
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
    component: Component,
    options: Mapping[str, Any] | None = None,
    *,
    skip: Collection[str] = (),
    seed: int | None = None,
    **setting: Any,
) -> Iterator[tuple[str, Outcome]]:
    """Run every check of `component` and yield each name with its outcome as soon as it is known.

    component: as the registry gives it, its `kind` filled in. options: of the component.
    skip: names of checks to leave out; say why in a comment where you call this.
    seed: of the points over the axes of configuration; default: a fresh one each time.
    setting: as in `check_attention` and its siblings: `dims`, `device`, `signals`, `attention`, `embedding`.
    outcome: None where the check passed, a text that says why it was skipped, or a KitFailure.

    Ends early where the component cannot be built. Raises BadInput for options that the component does not take, and for
    a name in `skip` that no check has.
    """
    yield from _outcomes(_case(component, options, seed, setting), skip)


def examine(
    component: Component,
    options: Mapping[str, Any] | None = None,
    *,
    skip: Collection[str] = (),
    seed: int | None = None,
    on_result: Callable[[CheckResult], None] | None = None,
    **setting: Any,
) -> KitResult:
    """All that the checks of `component` find, as plain data; the arguments and errors are those of `run_checks`.

    on_result: called with what each check found as soon as that is known.
    """
    case = _case(component, options, seed, setting)
    results = []
    for name, outcome in _outcomes(case, skip):
        results.append(_result(name, outcome, tuple(case.findings.notes)))
        case.findings.notes.clear()
        if on_result is not None:
            on_result(results[-1])
    found = case.findings
    return KitResult(
        kind=case.kind,
        component=component.name,
        seed=case.seed,
        defined=definition(component),
        checks=tuple(results),
        tolerance=found.tolerance,
        inert=tuple(sorted(found.inert)),
        effects=tuple(sorted(found.effects.items())),
        depends_on_length=found.depends_on_length,
        straight_through=found.straight_through,
        trained_buffers=tuple(sorted(found.trained_buffers)),
    )


def check(
    kind: str,
    component: Component,
    options: Mapping[str, Any],
    *,
    skip: Collection[str],
    seed: int | None,
    **setting: Any,
) -> dict[str, str]:
    """Run every check; the names of those that were skipped, with the reason. Raises KitFailure that lists all failures."""
    if component.kind not in ("", kind):
        raise BadInput(
            where="component", expected=f"one of kind {kind}", got=f"{component.name}, of kind {component.kind}"
        )
    case = _case(attrs.evolve(component, kind=kind), options, seed, setting)
    outcomes = dict(_outcomes(case, skip))
    failures = {name: outcome for name, outcome in outcomes.items() if isinstance(outcome, KitFailure)}
    if failures:
        place = definition(component)
        at = f" ({place})" if place else ""
        lines = [f"{kind} {component.name!r}{at} fails {len(failures)} of {len(outcomes)} checks, seed {case.seed}:"]
        lines += [f"- {name}: {failure}" for name, failure in failures.items() if not failure.same_as]
        lines += [f"- {line}" for line in repeated({name: failure.same_as for name, failure in failures.items()})]
        raise KitFailure("\n".join(lines)) from next(iter(failures.values()))
    return {name: outcome for name, outcome in outcomes.items() if isinstance(outcome, str)}


def _case(
    component: Component, options: Mapping[str, Any] | None, seed: int | None, setting: Mapping[str, Any]
) -> Case:
    """What the checks are given. Raises BadInput for a kind without checks, and for options that do not fit."""
    _functions(component.kind)
    options = dict(options or {})
    component.configure(**options)
    return Case(component, component.kind, options, seed=fresh_seed() if seed is None else seed, **setting)


def _outcomes(case: Case, skip: Collection[str]) -> Iterator[tuple[str, Outcome]]:
    functions = _functions(case.kind)
    for name in skip:
        if name not in functions:
            raise BadInput(where="skip", expected=f"names of checks: {', '.join(functions)}", got=name)
    stopped: dict[tuple[str, str], str] = {}
    for name, function in functions.items():
        outcome = "skipped: on request" if name in skip else _outcome(function, case)
        if isinstance(outcome, KitFailure) and outcome.where:
            error = type(outcome.__cause__ or outcome).__name__
            first = stopped.setdefault((error, outcome.where), name)
            outcome.same_as = "" if first == name else first
        yield name, outcome
        if name == FIRST and isinstance(outcome, KitFailure):
            return


def _result(name: str, outcome: Outcome, told: tuple[str, ...]) -> CheckResult:
    if outcome is None:
        return CheckResult(name, "passed", told=told)
    if isinstance(outcome, str):
        return CheckResult(name, "skipped", outcome.removeprefix("skipped: "), told)
    return CheckResult(name, "failed", str(outcome), told, outcome.where, outcome.same_as)


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
        found.where = place_of(case.component, found)
        return found
    except NotApplicable:
        raise
    except Exception as error:
        failure = KitFailure(f"raised {type(error).__name__}: {error}")
        failure.__cause__ = error
        failure.where = place_of(case.component, error)
        return failure
    return None
