"""The contract that every component keeps, checked by the test kit on all that this package registers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from lot import Component
from lot.signals import Signal
from lot.testing import KitFailure, examine, run_checks
from lot_toroidal import plugin

FORMS: dict[str, list[dict[str, Any]]] = {
    "toroidal": [
        {},
        {"window": 20},
        {"depth": 1, "lambda_distance": 0.0},
        {"causal": False, "fusion": "mean"},
        {"chunk": 16, "fusion": "attention", "frequencies": "geometric", "recompute": True},
        {"fusion": "learned"},
    ],
    "toroidal_ring": [{}, {"window": 20, "block": 32}],
    "toroidal_fft": [{}, {"causal": False}, {"causal": False, "lags": "content"}],
    "toroidal_latent": [{}, {"update": "linear", "fusion": "attention"}, {"update": "gru"}, {"update": "gru_per_head"}],
    "toroidal_adaptive": [{}, {"route": True, "depths": [1, 4]}],
}
MEASURED_ON = {"circulant_error": "toroidal_fft", "depth_weights": "toroidal_adaptive"}
SIGNALS = {
    name: Signal(name=name, source="attention", shapes=shapes, meaning="see lot_toroidal.attention.emitted")
    for name, shapes in {
        "platter_mixing": (("P", "P"),),
        "platter_attention": (("H", "T", "T", "P"),),
        "depth_weights": (("C",),),
    }.items()
}
ATTENTIONS = [component.name for component in plugin.lot_attentions()]
DIAGNOSTICS = [component.name for component in plugin.lot_diagnostics()]


def failures(component: Component, options: dict[str, Any], **setting: Any) -> dict[str, str]:
    outcomes = run_checks(component, options, **setting)
    return {check: str(outcome) for check, outcome in outcomes if isinstance(outcome, KitFailure)}


def test_every_attention_is_checked() -> None:
    assert sorted(FORMS) == sorted(ATTENTIONS)


@pytest.mark.parametrize(
    ("name", "options"), [(name, options) for name, forms in FORMS.items() for options in forms], ids=str
)
def test_the_kit_finds_nothing_wrong_with_an_attention(
    name: str, options: dict[str, Any], attention: Callable[[str], Component]
) -> None:
    assert failures(attention(name), options, signals=SIGNALS) == {}


def test_the_published_torus_depends_on_the_length_and_says_so(attention: Callable[[str], Component]) -> None:
    """Its angles and distances go by the length of the sequence, so a prefix gives something else alone than within."""
    result = examine(attention("toroidal"), {"form": "published"}, signals=SIGNALS)
    assert result.passed, result.failed
    assert result.depends_on_length
    skipped = {check.name: check.why for check in result.skipped}
    assert "it declares depends_on_length" in skipped["causal: prefix"]
    assert {"axes: prefix", "decoding"} <= set(skipped)


@pytest.mark.parametrize(
    ("name", "on"), [(name, on) for name in DIAGNOSTICS for on in (MEASURED_ON.get(name, "toroidal"), "vanilla")]
)
def test_the_kit_finds_nothing_wrong_with_a_diagnostic(
    name: str, on: str, attention: Callable[[str], Component], diagnostic: Callable[[str], Component]
) -> None:
    measured = None if on == "vanilla" else attention(on)
    assert failures(diagnostic(name), {}, signals=SIGNALS, attention=measured) == {}


def test_registering_imports_no_torch() -> None:
    code = "import sys, lot_toroidal.plugin as p; p.lot_attentions(); p.lot_diagnostics(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
