"""The operations of every attention are counted, and the cost of an arm says what its mechanism adds."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support import TINY

import lot
from lot.model.operations import OperationCounter
from lot.plugins.registry import registry
from lot.testing.case import DIMS
from lot_cli.study.analysis.cost import count_operations

OPTIONS: dict[str, list[dict[str, Any]]] = {
    "lattice": [{"dynamics": "relax", "substeps": 2}],
    "interference": [{"evolution": "pairwise", "normalize": "energy"}, {"normalize": "softmax"}],
    "toroidal_latent": [{"update": "gru"}, {"update": "linear"}, {"update": "gru_per_head"}],
}
FORMS = [
    (component, options)
    for component in registry().components("attention")
    for options in [{}, *OPTIONS.get(component.name, [])]
]


@pytest.mark.parametrize(("component", "options"), FORMS, ids=lambda part: str(getattr(part, "name", part)))
def test_no_operator_of_an_attention_goes_uncounted(component: lot.Component, options: dict[str, Any]) -> None:
    module = component.build(DIMS, **options).train()
    x = torch.randn(2, 70, DIMS.width, requires_grad=True)
    with OperationCounter() as counter:
        y, _ = module(x, lot.Context())
        forward = counter.total
        y.backward(torch.ones_like(y))
    assert not counter.uncounted
    assert forward > 2 * x.numel() * DIMS.width, "at least a linear map of every token"
    assert counter.total > 2 * forward, "the gradient costs no less than the pass"


def cost(name: str, **changes: Any) -> float:
    """Operations per token of a tiny model."""
    config = lot.load_config({**TINY, "attn": {"name": name}, **changes})
    found = count_operations(config, "cpu")
    assert found["uncounted"] == []
    return found["flops_per_token"]  # type: ignore[no-any-return]


def test_what_a_mechanism_adds_shows_and_its_neutral_form_costs_what_vanilla_does() -> None:
    vanilla, lattice = cost("vanilla"), cost("lattice")
    assert lattice > 1.1 * vanilla
    neutral = {"train": {**TINY["train"], "neutral": True}}
    assert cost("lattice", **neutral) == vanilla
