"""Attention in blocks of queries."""

from __future__ import annotations

import pytest
import torch

from lot.random import isolated
from lot_wave.ops.blockwise import blockwise_attention


def test_dropout_of_weights_in_blocks():
    """Of even weights over ones: dropping keeps the mean of 1 and no longer every row."""
    ones = torch.ones(1, 1, 400, 1)
    with isolated(0, "test"):
        y = blockwise_attention(
            lambda q, k: q @ k.mT, (ones,), (ones,), ones, causal=False, dropout=0.5, divide_by_row=0.0
        )
    assert float(y.mean()) == pytest.approx(1.0, abs=0.01)
    assert float(y.std()) == pytest.approx(1 / 20, rel=0.2)  # the root of p / (1 - p) / 400
