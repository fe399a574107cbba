"""Metrics of tasks against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from lot.metrics import BitsPerUnit, ExactMatch, MeanLoss, Perplexity, TokenAccuracy


def logits_of(answers: list[list[int]], vocab_size: int = 4, height: float = 1.0) -> torch.Tensor:
    """Logits (B, T, V) whose most likely token is the one given."""
    return height * torch.nn.functional.one_hot(torch.tensor(answers), vocab_size).float()


TARGETS = torch.tensor([[1, 2, -100], [-100, 3, 3], [0, -100, -100], [-100, -100, -100]])
ANSWERS = [[1, 2, 0], [0, 3, 1], [0, 2, 2], [1, 1, 1]]


def test_loss_is_the_mean_over_scored_targets() -> None:
    metric = MeanLoss()
    metric.update(logits_of(ANSWERS, height=math.log(2)), TARGETS)
    # A right token has probability 2/5, each wrong one 1/5; four right and one wrong are scored.
    assert float(metric.compute()) == pytest.approx((4 * math.log(5 / 2) + math.log(5)) / 5)


def test_shares_are_over_scored_targets_and_over_examples_that_have_one() -> None:
    exact, tokens = ExactMatch(), TokenAccuracy()
    exact.update(logits_of(ANSWERS), TARGETS)
    tokens.update(logits_of(ANSWERS), TARGETS)
    assert float(exact.compute()) == pytest.approx(2 / 3)  # of the three rows in which anything is scored
    assert float(tokens.compute()) == pytest.approx(4 / 5)


def test_answers_count_from_start_on() -> None:
    exact, tokens = ExactMatch(start=2), TokenAccuracy(start=2)
    exact.update(logits_of(ANSWERS), TARGETS)
    tokens.update(logits_of(ANSWERS), TARGETS)
    assert float(exact.compute()) == float(tokens.compute()) == 0.0  # only the wrong 1 for 3 is left


@pytest.mark.parametrize(("metric", "value"), [(MeanLoss, math.log(8)), (Perplexity, 8.0), (BitsPerUnit, 3.0)])
def test_equal_logits_leave_every_token_equally_likely(metric: type[MeanLoss], value: float) -> None:
    made = metric()
    made.update(torch.zeros(2, 3, 8), torch.zeros(2, 3, dtype=torch.int64))
    assert float(made.compute()) == pytest.approx(value)


@pytest.mark.parametrize("metric", [MeanLoss, Perplexity, BitsPerUnit, TokenAccuracy, ExactMatch])
def test_where_nothing_is_scored_there_is_no_number(metric: type[MeanLoss | TokenAccuracy]) -> None:
    made = metric()
    made.update(torch.zeros(2, 3, 8), torch.full((2, 3), -100))
    assert math.isnan(float(made.compute()))


@pytest.mark.parametrize("metric", [MeanLoss, TokenAccuracy, ExactMatch])
def test_batches_of_any_size_give_the_number_of_the_whole(metric: type[MeanLoss | TokenAccuracy]) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(30, 3, 2, generator=generator)
    targets = torch.randint(-1, 2, (30, 3), generator=generator)
    targets[targets == -1] = -100
    whole, parts = metric(), metric()
    whole.update(logits, targets)
    for size in ((0, 1), (1, 14), (14, 30)):
        parts.update(logits[slice(*size)], targets[slice(*size)])
    assert float(whole.compute()) > 0
    assert float(parts.compute()) == pytest.approx(float(whole.compute()), rel=1e-6)


def test_a_small_loss_counts_beside_the_sum_of_a_large_split() -> None:
    metric = MeanLoss()
    metric.total += 2**30
    metric.update(torch.zeros(1, 1, 8), torch.zeros(1, 1, dtype=torch.int64))
    assert float(metric.total) - 2**30 == pytest.approx(math.log(8), abs=1e-5)


def test_half_precision_logits_are_scored_in_single() -> None:
    logits = torch.randn(4, 5, 9, generator=torch.Generator().manual_seed(2)).bfloat16()
    targets = torch.zeros(4, 5, dtype=torch.int64)
    half, single = MeanLoss(), MeanLoss()
    half.update(logits, targets)
    single.update(logits.float(), targets)
    assert float(half.compute()) == float(single.compute())
