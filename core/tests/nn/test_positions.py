"""Means by position against loops over tokens: rows that are sequences, and documents that share rows."""

from __future__ import annotations

import pytest
import torch

from lot.contracts import Context
from lot.nn import mean_by_position

SEGMENTS = torch.tensor([[0, 0, 0, 1, 1, 2], [5, 5, 5, 5, 0, 0], [0, 1, 1, 1, 1, 1]])
PADDING = torch.tensor([[0, 0, 0, 0, 1, 0], [1, 1, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0]]).bool()
POSITIONS = [[0, 1, 2, 0, 1, 0], [0, 1, 2, 3, 0, 1], [0, 0, 1, 2, 3, 4]]
POSITIONS_PADDED = [[0, 1, 2, 0, None, 0], [None, None, 0, 1, 0, 1], [0, 0, 1, 2, 3, 4]]


@pytest.mark.parametrize(
    ("padding", "positions"), [(None, POSITIONS), (PADDING, POSITIONS_PADDED)], ids=["", "padding"]
)
@pytest.mark.parametrize("shape", [(), (2,), (2, 3)])
def test_documents_count_from_their_own_start(padding, positions, shape):
    values = torch.randn(3, *shape, 6, dtype=torch.float64)
    found = mean_by_position(values, Context(segments=SEGMENTS, padding=padding))
    assert found.shape == (*shape, 6)
    for position in range(6):
        at = [values[b, ..., t] for b in range(3) for t in range(6) if positions[b][t] == position]
        expected = torch.stack(at).mean(0) if at else torch.full(shape, torch.nan, dtype=torch.float64)
        torch.testing.assert_close(found[..., position], expected, equal_nan=True)


def test_rows_that_are_sequences_have_their_plain_mean():
    values = torch.randn(3, 2, 6)
    assert torch.equal(mean_by_position(values, Context()), values.mean(0))
