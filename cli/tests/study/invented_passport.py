"""Passports that were never made, for tests."""

from __future__ import annotations

from typing import Any

from lot_cli.study.design.passport import Behavior, Check, Outcome, Part, Passport


def check(name: str, outcome: Outcome = "passed", **facts: Any) -> Check:
    """A check of the kit."""
    return Check(name=name, outcome=outcome, **facts)


def part(**changes: Any) -> Part:
    """An attention that passed."""
    facts: dict[str, Any] = {
        "path": "attn",
        "layer": 0,
        "kind": "attention",
        "name": "lattice",
        "distribution": "lot-lattice",
        "version": "1.0",
        "source": "cd" * 32,
        "key": "a" * 32,
        "options": {"coupling": 0.5},
        "around": {"width": 16, "heads": 2},
        "device": "cpu",
        "seed": 0,
        "checks": [check("builds")],
        "weights": 100,
        "state_per_token": 256.0,
    }
    return Part(**{**facts, **changes})


def behavior(**changes: Any) -> Behavior:
    """An arm that does nothing beside learning."""
    facts: dict[str, Any] = {"key": "c" * 32, "weights": 1000, "objective": 1.0, "flops_per_token": 1e6}
    return Behavior(**{**facts, **changes})


def passport(*parts: Part, **changes: Any) -> Passport:
    """The passport of an arm of these parts."""
    return Passport(made="2026-01-01T00:00:00+00:00", parts=list(parts), behavior=behavior(**changes))
