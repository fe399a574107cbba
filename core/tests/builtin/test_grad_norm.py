"""The gradient norm, of gradients given by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lot.builtin.grad_norm import GradNorm
from lot.contracts import Batch, Context, Output, Probe
from lot.options.declare import NoOptions


def test_it_is_that_of_the_whole_model_and_of_each_block_in_order() -> None:
    sizes = {"embedding.weight": [3.0], "blocks.10.x": [12.0], "blocks.2.x": [0.0, 4.0], "blocks.2.y": [3.0]}
    gradients = {name: torch.tensor(values) for name, values in sizes.items()}
    ids = torch.zeros(1, 1, dtype=torch.int64)
    output = Output(torch.zeros(0), {})
    probe = Probe(nn.Module(), Batch(ids, ids), output, Context(), None, torch.Generator(), lambda: gradients)  # type: ignore[arg-type]
    values = GradNorm(NoOptions()).measure(probe)
    assert values["blocks"].tolist() == [5.0, 12.0]
    assert float(values["total"]) == pytest.approx((9 + 25 + 144) ** 0.5)
