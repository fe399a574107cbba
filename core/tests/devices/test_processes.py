"""What a process takes of a batch, and how it weighs."""

from __future__ import annotations

import pytest
import torch

from lot.contracts import IGNORED, Batch
from lot.devices.processes import Team, join_team
from lot.errors import BadInput

CPU = torch.device("cpu")


def batch() -> Batch:
    """Four rows with 3, 0, 1 and 2 scored targets."""
    targets = torch.tensor([[1, 1, 1], [IGNORED] * 3, [IGNORED, IGNORED, 1], [1, 1, IGNORED]])
    return Batch(torch.arange(12).view(4, 3), targets, targets == IGNORED)


@pytest.mark.parametrize(("world", "span"), [(2, 1), (4, 1), (3, 3), (6, 3), (12, 3)])
def test_shares_cover_the_batch(world: int, span: int) -> None:
    """span: processes that hold a row together."""
    whole = batch()
    shares = [Team(rank, world, CPU, span).share(whole) for rank in range(world)]
    for index in range(3):
        rows = [torch.cat([share.batch[index] for share in shares[i : i + span]], 1) for i in range(0, world, span)]
        assert torch.equal(torch.cat(rows), whole[index])
    assert [share.start for share in shares[:span]] == list(range(0, 3, 3 // span))
    assert sum(int(share.batch.scored()) for share in shares) == 6
    assert sum(int(share.batch.tokens()) for share in shares) == 6, "padding stands where nothing is scored"
    assert Team(0, 1, CPU).share(whole).batch is whole


def test_one_process_needs_no_one() -> None:
    alone = Team(0, 1, CPU)
    assert alone.main
    assert alone.lead(lambda: 3) == 3
    assert alone.gather("x") == ["x"]
    assert alone.largest(4) == 4
    with pytest.raises(OSError, match="full"):
        alone.lead(lambda: (_ for _ in ()).throw(OSError("full")))


def test_a_batch_that_cannot_be_shared_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(BadInput, match=r"train.batch_size: expected a multiple of the 4 processes, got 6"):
        join_team("cpu", 6)
    with pytest.raises(BadInput, match=r"train.batch_size: expected a multiple of the 2 groups of 2 processes, got 5"):
        join_team("cpu", 5, 2)
    with pytest.raises(BadInput, match=r"train.context_parallel: expected a divisor of the 4 processes, got 3"):
        join_team("cpu", 6, 3)
