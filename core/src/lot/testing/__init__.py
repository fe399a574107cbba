"""The test kit: what every component must keep, as checks that need no pytest.

from lot.testing import check_attention
check_attention(component, coupling=0.5)      # raises KitFailure, which lists everything that is wrong

for name, outcome in run_checks(component):   # one by one: None, why it was skipped, or a KitFailure
    ...
result = examine(component)                   # all of it as plain data, with what checks tell beside their outcome

Points over the axes of configuration are drawn from a fresh seed each time, which failures name; `seed=` repeats one.

Where things are: `kinds/` holds the list of checks of each kind of component, `properties/` one property per module that
several kinds share, `specimens/` the small models, batches and signals that checks are made with. `run.py` runs the checks,
`case.py` is what a check is given, `failure.py` is how it ends, `result.py` what is found in all.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from lot.contracts import Dims
from lot.plugins.component import Component
from lot.signals import Signal
from lot.testing.case import DIMS
from lot.testing.failure import KitFailure, NotApplicable
from lot.testing.result import CheckResult, KitResult
from lot.testing.run import check, checks, examine, run_checks


def check_attention(
    component: Component,
    *,
    skip: Collection[str] = (),
    dims: Dims = DIMS,
    device: str = "cpu",
    seed: int | None = None,
    **options: Any,
) -> dict[str, str]:
    """Run all checks of an attention; the names of those that were skipped, each with the reason.

    component: from a registry, or as `Component(...)` is written in a plugin. options: of the component.
    skip: names of checks to leave out (`checks("attention")` lists them).
    dims: the model around the module: width and heads, longest sequence in tokens, size of the vocabulary, layers.
    device: where the module is built and run, such as "cuda".
    seed: of the points over the axes of configuration, which a failure names; default: a fresh one each time. An option of
    the component that has one of these names is given to `run_checks` or `examine`.

    Raises KitFailure that lists everything that is wrong, each line with what was expected, what came and the usual cause.
    Raises BadInput for an option that the component does not take, for a name in `skip` that no check has, for a component
    of another kind, and for `dims` that allow fewer than 8 tokens.
    """
    return check("attention", component, options, skip=skip, seed=seed, dims=dims, device=device)


def check_embedding(
    component: Component,
    *,
    skip: Collection[str] = (),
    dims: Dims = DIMS,
    device: str = "cpu",
    seed: int | None = None,
    **options: Any,
) -> dict[str, str]:
    """As `check_attention`, for an embedding, which is given ids (B, T) int64 instead of x (B, T, D)."""
    return check("embedding", component, options, skip=skip, seed=seed, dims=dims, device=device)


def check_mlp(
    component: Component,
    *,
    skip: Collection[str] = (),
    dims: Dims = DIMS,
    device: str = "cpu",
    seed: int | None = None,
    **options: Any,
) -> dict[str, str]:
    """As `check_attention`, for an MLP."""
    return check("mlp", component, options, skip=skip, seed=seed, dims=dims, device=device)


def check_model(
    component: Component, *, skip: Collection[str] = (), device: str = "cpu", seed: int | None = None, **options: Any
) -> dict[str, str]:
    """As `check_attention`, for a model, which is built with vanilla attention in its slots and the MLP that it asks for."""
    return check("model", component, options, skip=skip, seed=seed, device=device)


def check_optimizer(
    component: Component, *, skip: Collection[str] = (), seed: int | None = None, **options: Any
) -> dict[str, str]:
    """As `check_attention`, for an optimizer, which trains a quadratic and a small network on the CPU for 100 steps."""
    return check("optimizer", component, options, skip=skip, seed=seed)


def check_loss(
    component: Component,
    *,
    skip: Collection[str] = (),
    signals: Mapping[str, Signal] | None = None,
    seed: int | None = None,
    **options: Any,
) -> dict[str, str]:
    """As `check_attention`, for a loss, which is called with made-up logits (B, T, V), targets (B, T) and signals.

    signals: shapes of signals that the table `lot.signals` lacks, by name.
    """
    return check("loss", component, options, skip=skip, seed=seed, signals=signals or {})


def check_task(
    component: Component, *, skip: Collection[str] = (), seed: int | None = None, **options: Any
) -> dict[str, str]:
    """As `check_attention`, for a task, whose batches are read on the CPU, and on a GPU where there is one."""
    return check("task", component, options, skip=skip, seed=seed)


def check_diagnostic(
    component: Component,
    *,
    skip: Collection[str] = (),
    signals: Mapping[str, Signal] | None = None,
    attention: Component | None = None,
    embedding: Component | None = None,
    seed: int | None = None,
    **options: Any,
) -> dict[str, str]:
    """As `check_attention`, for a diagnostic, which measures and draws a small decoder of three layers.

    attention, embedding: what that decoder is made of. Default: the component of the diagnostic's own plugin that gives
    most of what it needs, else the core's own. Signals that the decoder does not give are made up.
    signals: shapes of signals that the table `lot.signals` lacks, by name.
    """
    setting = {"signals": signals or {}, "attention": attention, "embedding": embedding}
    return check("diagnostic", component, options, skip=skip, seed=seed, **setting)


def check_recorder(
    component: Component, *, skip: Collection[str] = (), live: bool = False, seed: int | None = None, **options: Any
) -> dict[str, str]:
    """As `check_attention`, for a recorder, which is given the rows of made-up runs in folders that are removed afterwards.

    live: also open a recorder that is `final`, which leaves some runs in the service that it sends to.
    """
    return check("recorder", component, options, skip=skip, seed=seed, live=live)


__all__ = [
    "DIMS",
    "CheckResult",
    "KitFailure",
    "KitResult",
    "NotApplicable",
    "check_attention",
    "check_diagnostic",
    "check_embedding",
    "check_loss",
    "check_mlp",
    "check_model",
    "check_optimizer",
    "check_recorder",
    "check_task",
    "checks",
    "examine",
    "run_checks",
]
