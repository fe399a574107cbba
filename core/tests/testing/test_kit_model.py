"""The kit finds models whose halves are not the whole."""

from __future__ import annotations

import pytest
from kit_specimens import models

from lot.builtin.config import DecoderConfig
from lot.plugins.component import Component
from lot.testing import check_model, examine


def component(specimen: type) -> Component:
    return Component(
        name="specimen",
        summary="A model.",
        factory=f"kit_specimens.models:{specimen.__name__}",
        config=DecoderConfig,
        kind="model",
    )


@pytest.mark.parametrize(
    ("specimen", "told"),
    [
        (models.LayerTwice, "logits with the halves parted after 1 layers"),
        (models.SilentBelow, "layers that give a signal"),
    ],
)
def test_halves_that_are_not_the_whole_are_found(specimen, told):
    failed = {
        check.name: " ".join(check.why.split())
        for check in examine(component(specimen)).checks
        if check.status == "failed"
    }
    assert set(failed) == {"halves"}
    assert told in failed["halves"]


def test_a_model_without_halves_passes():
    check_model(component(models.OnlyWhole))
