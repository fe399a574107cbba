"""The loss of every test example is kept, adds up to the loss of the run, and stays small for a large split."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from lot.errors import BadInput
from lot.runs.examples import FILE, MOST, load_example_losses, new_example_losses


def test_rows_are_sums_over_examples_batch_by_batch() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(7, 5, 3, generator=generator)
    targets = torch.randint(0, 3, (7, 5), generator=generator)
    targets[2, 1:] = targets[4] = -100
    found = new_example_losses(7)
    for first in (0, 4):
        found.add(logits[first : first + 4], targets[first : first + 4], first)
    for row in range(7):
        kept = targets[row] != -100
        assert found.scored[row] == kept.sum()
        expected = (
            F.cross_entropy(logits[row][kept].double(), targets[row][kept], reduction="sum") if kept.any() else 0.0
        )
        assert float(found.loss[row]) == pytest.approx(float(expected), rel=1e-6)


def test_neighbors_share_a_row_of_a_large_split(tmp_path: Path) -> None:
    examples = 3 * MOST - 2
    found = new_example_losses(examples)
    for first in (0, examples - 2):
        found.add(torch.zeros(2, 1, 4), torch.zeros(2, 1, dtype=torch.int64), first)
    assert (len(found.loss), found.size) == (MOST, 3)
    assert (
        found.scored.nonzero().flatten().tolist()
        == [0, (examples - 2) // 3, (examples - 1) // 3][: 2 + (examples % 3 == 1)]
    )
    assert int(found.scored.sum()) == 4
    found.save(tmp_path)
    assert (tmp_path / FILE).stat().st_size < 34_000
    read = load_example_losses(tmp_path)
    assert read is not None
    assert read.size == 3
    assert torch.equal(read.scored, found.scored)
    assert torch.equal(read.loss, found.loss.float().double())


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    assert load_example_losses(tmp_path) is None
    (tmp_path / FILE).write_bytes(b"no tensors")
    with pytest.raises(BadInput, match=rf"{FILE}: damaged"):
        load_example_losses(tmp_path)
