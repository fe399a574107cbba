"""Which parameters count as the mechanism's: names that are common for projections are no part of it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from lot.contracts import Attention
from lot.nn import Projections
from lot.runs.own_parameters import own_parameters
from lot.testing.case import DIMS

WIDTH = DIMS.width


class Mixed(Attention):
    """Projections under many names, and what is none of them."""

    def __init__(self) -> None:
        super().__init__()
        self.dims = DIMS
        self.heads = Projections(DIMS)
        self.q_proj, self.wk, self.to_qkv = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 8), nn.Linear(WIDTH, 3 * WIDTH)
        self.to_out = nn.Sequential(nn.Linear(WIDTH, WIDTH, bias=False), nn.Dropout())
        self.c_proj = nn.Linear(WIDTH, WIDTH, bias=False)
        self.torch = nn.MultiheadAttention(WIDTH, 4)
        self.query_phase = nn.Linear(WIDTH, 4)  # another thing that has the word in its name
        self.fusion = nn.ModuleDict({"query": nn.Linear(4, 4, bias=False)})  # no map of the residual stream
        self.key = nn.Parameter(torch.zeros(4, 16))
        self.gate = nn.Linear(WIDTH, WIDTH)


def test_projections_under_common_names_are_vanillas() -> None:
    own, shared = own_parameters({0: Mixed(), 1: Mixed()})
    expected = ["key", "query_phase.weight", "query_phase.bias", "fusion.query.weight", "gate.weight", "gate.bias"]
    assert list(own) == expected
    assert own["gate.weight"] == [(0, "gate.weight"), (1, "gate.weight")]
    names = [name for name, _ in Mixed().named_parameters()]
    assert sorted([*own, *shared]) == sorted(names), "each is counted once"
    assert {"torch.in_proj_weight", "torch.in_proj_bias", "torch.out_proj.bias", "wk.bias", "to_out.0.weight"} <= set(
        shared
    )


def test_a_module_that_tells_no_width_is_judged_by_names() -> None:
    @dataclass(eq=False)
    class Bare(Attention):
        def __post_init__(self) -> None:
            super().__init__()
            self.v, self.strength = nn.Linear(6, 6), nn.Linear(6, 6)

    own, shared = own_parameters({0: Bare()})
    assert list(own) == ["strength.weight", "strength.bias"]
    assert shared == ["v.weight", "v.bias"]
