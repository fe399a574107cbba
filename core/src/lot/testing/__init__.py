"""The test kit: what every component must keep, as checks that need no pytest.

from lot.testing import check_attention
check_attention(component, coupling=0.5)      # raises KitFailure, which lists everything that is wrong

for name, outcome in run_checks(component):   # one by one: None, why it was skipped, or a KitFailure
    ...
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from lot.contracts import Dims
from lot.plugins.component import Component
from lot.signals import Signal
from lot.testing.case import DIMS, Case
from lot.testing.failure import KitFailure, NotApplicable
from lot.testing.run import check, checks, run_checks


def check_attention(
    component: Component, *, skip: Collection[str] = (), dims: Dims = DIMS, device: str = "cpu", **options: Any
) -> dict[str, str]:
    """Run all checks of an attention built with `options`; returns those that were skipped, and why.

    skip: names of checks to leave out. dims: the model around it. Raises KitFailure that lists all that is wrong.
    """
    return check("attention", component, options, skip=skip, dims=dims, device=device)


def check_embedding(
    component: Component, *, skip: Collection[str] = (), dims: Dims = DIMS, device: str = "cpu", **options: Any
) -> dict[str, str]:
    """As `check_attention`, for an embedding."""
    return check("embedding", component, options, skip=skip, dims=dims, device=device)


def check_optimizer(component: Component, *, skip: Collection[str] = (), **options: Any) -> dict[str, str]:
    """As `check_attention`, for an optimizer."""
    return check("optimizer", component, options, skip=skip)


def check_loss(
    component: Component, *, skip: Collection[str] = (), signals: Mapping[str, Signal] | None = None, **options: Any
) -> dict[str, str]:
    """As `check_attention`, for a loss. signals: shapes of signals that `lot.signals` lacks."""
    return check("loss", component, options, skip=skip, signals=signals or {})


def check_task(component: Component, *, skip: Collection[str] = (), **options: Any) -> dict[str, str]:
    """As `check_attention`, for a task."""
    return check("task", component, options, skip=skip)


def check_diagnostic(
    component: Component,
    *,
    skip: Collection[str] = (),
    signals: Mapping[str, Signal] | None = None,
    attention: Component | None = None,
    embedding: Component | None = None,
    **options: Any,
) -> dict[str, str]:
    """As `check_attention`, for a diagnostic.

    attention, embedding: what the measured model is made of (default: the core's own); signals that it does not give
    are made up. signals: shapes of signals that `lot.signals` lacks.
    """
    setting = {"signals": signals or {}, "attention": attention, "embedding": embedding}
    return check("diagnostic", component, options, skip=skip, **setting)


__all__ = [
    "DIMS",
    "Case",
    "KitFailure",
    "NotApplicable",
    "check_attention",
    "check_diagnostic",
    "check_embedding",
    "check_loss",
    "check_optimizer",
    "check_task",
    "checks",
    "run_checks",
]
