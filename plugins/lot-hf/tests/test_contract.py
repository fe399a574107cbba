"""The contract of a model, checked by the test kit, with folders of several families."""

from __future__ import annotations

import pytest

from lot import registry
from lot.testing import KitFailure, run_checks


@pytest.mark.parametrize("layers", [None, [1], [0, 2]], ids=str)
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_the_kit_finds_nothing_wrong(family, layers, write, configs):
    options = {"path": str(write(configs[family])), "layers": layers}
    component = registry().get("model", "hf")
    wrong = {
        check: str(outcome) for check, outcome in run_checks(component, options) if isinstance(outcome, KitFailure)
    }
    assert wrong == {}


def test_nothing_else_is_registered():
    found = [(kind, one.name) for kind in ("model", "attention") for one in registry().components(kind)
             if one.distribution == "lot-hf"]  # fmt: skip
    assert found == [("model", "hf")]
