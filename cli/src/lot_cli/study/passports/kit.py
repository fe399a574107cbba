"""The kit as a passport uses it: which checks a study leaves out, which ones look for leaks, and one list of outcomes.

All that a passport knows of `lot.testing` is here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from lot.plugins.component import Component
from lot.testing import checks, examine
from lot_cli.study.design.passport import Check

LONGEST = 192
"""Tokens up to which the kit builds a module: beyond blocks of 32, 64 and 128, and still quick."""
SHORTEST = 8
"""Tokens that the kit needs."""
NO_BEARING = {
    "export": "a study exports nothing",
    "decoding": "a study scores whole sequences, and decodes nothing",
    "decoding with padding": "a study scores whole sequences, and decodes nothing",
    "draws": "pictures are no part of a result",
    "records": "pictures are no part of a result",
}
"""Checks that say nothing about the numbers of a study, and why."""
NOT_COMPILED = {"compile": "the runs are not compiled"}
LEAKS = ("causal", "axes: causal", "axes: prefix", "batch members", "leak")
"""How the names of the checks begin that look for answers in the input."""
FOLLOWS = ("padding", "axes: padding")
"""Checks that fail of themselves where one of those fails: what sees later tokens sees padded ones too."""


def left_out(kind: str, *, compiled: bool) -> dict[str, str]:
    """The checks of a kind that a passport leaves out, each with the reason. compiled: whether the runs are."""
    reasons = NO_BEARING if compiled else {**NO_BEARING, **NOT_COMPILED}
    return {name: reasons[name] for name in checks(kind) if name in reasons}


def run_kit(
    component: Component, options: Mapping[str, Any], skip: Mapping[str, str], setting: Mapping[str, Any], seed: int
) -> tuple[list[Check], float | None]:
    """Every check of `component` with its outcome, and the largest effect on the output that any of them measured.

    skip: checks to leave out, with the reasons. seed: of the points.
    """
    found = examine(component, options, skip=skip, seed=seed, **setting)
    results = [
        Check(
            name=result.name,
            outcome=result.status,
            why=skip.get(result.name) or " ".join(result.why.split()),
            leak=result.status == "failed" and result.name.startswith(LEAKS),
            told=list(result.told),
        )
        for result in found.checks
    ]
    leaks = any(check.leak for check in results)
    results = [attrs.evolve(check, leak=True) if leaks and _follows(check) else check for check in results]
    return results, max((size for _, size in found.effects), default=None)


def _follows(check: Check) -> bool:
    return check.outcome == "failed" and check.name in FOLLOWS
