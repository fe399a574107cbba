"""An attention that returns something else than y (B, T, D) and signals is named with its file and line, at the first pass."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lot.builtin.config import DecoderConfig
from lot.builtin.mlps import GeluMLP
from lot.contracts import Context, Dims
from lot.errors import PluginError
from lot.model.decoder import Block
from lot.options.declare import NoOptions

MLP = GeluMLP(NoOptions(), Dims(width=8, heads=1, max_len=3, vocab_size=5))


class Odd(nn.Module):
    """Returns what it is told."""

    def __init__(self, returned: Any) -> None:
        super().__init__()
        self.returned = returned

    def forward(self, x: Tensor, ctx: Context) -> Any:
        return self.returned


@pytest.mark.parametrize(
    ("returned", "got"),
    [
        ((torch.zeros(2, 3, 5), {}), r"y of shape \(2, 3, 5\),"),
        (torch.zeros(2, 3, 8), r"y of shape \(2, 3, 8\) without signals"),
        ((torch.zeros(2, 3, 8), None), "without signals"),
        (None, "a NoneType without signals"),
        ((1, 2, 3), "a tuple without signals"),
    ],
)
def test_an_odd_output_is_named_with_its_place(returned: Any, got: str) -> None:
    block = Block(Odd(returned), MLP, DecoderConfig(width=8, heads=1, layers=1))  # type: ignore[arg-type]
    line = Odd.forward.__code__.co_firstlineno
    expected = rf"Odd.forward: expected y of shape \(B, T, D\) = \(2, 3, 8\).*got .*{got}.*{__file__}:{line}$"
    with pytest.raises(PluginError, match=expected):
        block(torch.zeros(2, 3, 8), Context())


def test_a_right_output_passes() -> None:
    block = Block(Odd((torch.zeros(2, 3, 8), {})), MLP, DecoderConfig(width=8, heads=1, layers=1))  # type: ignore[arg-type]
    assert block(torch.zeros(2, 3, 8), Context())[0].shape == (2, 3, 8)
