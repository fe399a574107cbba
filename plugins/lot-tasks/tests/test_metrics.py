"""The metrics that tasks report, against numbers worked out by hand and against torchmetrics' own."""

from __future__ import annotations

import math

import pytest
import torch
from torchmetrics.classification import MulticlassAccuracy

from lot_tasks.macro_accuracy import MacroAccuracy
from lot_tasks.metrics import answer_metrics, language_metrics, mad_metrics


def logits_of(answers: list[list[int]], vocab_size: int = 4, height: float = 1.0) -> torch.Tensor:
    """Logits (B, T, V) whose most likely token is the one given."""
    return height * torch.nn.functional.one_hot(torch.tensor(answers), vocab_size).float()


TARGETS = torch.tensor([[1, 2, -100], [-100, 3, 3], [0, -100, -100], [-100, -100, -100]])
ANSWERS = [[1, 2, 0], [0, 3, 1], [0, 2, 2], [1, 1, 1]]


def test_exact_match_and_token_accuracy() -> None:
    metrics = answer_metrics()
    metrics.update(logits_of(ANSWERS), TARGETS)
    values = metrics.compute()
    assert float(values["exact_match"]) == pytest.approx(2 / 3)  # of the three rows in which anything is scored
    assert float(values["token_accuracy"]) == pytest.approx(4 / 5)


def test_perplexity_and_bits_belong_to_the_loss() -> None:
    metrics = language_metrics("bits_per_char")
    metrics.update(torch.zeros(2, 3, 8), torch.zeros(2, 3, dtype=torch.int64))
    values = {key: float(value) for key, value in metrics.compute().items()}
    assert values == pytest.approx({"loss": math.log(8), "perplexity": 8.0, "bits_per_char": 3.0})


def test_parts_of_any_size_give_the_score_of_the_whole() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(30, 7, 5, generator=generator)
    targets = torch.randint(-1, 5, (30, 7), generator=generator)
    targets[targets == -1] = -100
    whole, parts = mad_metrics(5), mad_metrics(5)
    whole.update(logits, targets)
    for size in ((0, 1), (1, 14), (14, 30)):
        parts.update(logits[slice(*size)], targets[slice(*size)])
    for key, value in whole.compute().items():
        assert float(parts.compute()[key]) == pytest.approx(float(value), rel=1e-6)


def test_every_metric_says_which_way_is_better() -> None:
    metrics = {**mad_metrics(4), **language_metrics("bits_per_char")}
    assert {name: metric.higher_is_better for name, metric in metrics.items()} == {
        "loss": False,
        "perplexity": False,
        "bits_per_char": False,
        "exact_match": True,
        "token_accuracy": True,
        "macro_accuracy": True,
    }


def test_macro_accuracy_is_that_of_torchmetrics() -> None:
    generator = torch.Generator().manual_seed(1)
    ours, theirs = MacroAccuracy(6), MulticlassAccuracy(6, average="macro", ignore_index=-100)
    for _ in range(3):
        logits = torch.randn(8, 5, 6, generator=generator)
        logits[..., 4] = -9.0  # never predicted
        logits[..., 5] += 2.0
        targets = torch.randint(0, 5, (8, 5), generator=generator)  # 5 is predicted but never asked for
        targets[:, 0] = -100
        ours.update(logits, targets)
        theirs.update(logits.argmax(-1).flatten(), targets.flatten())
    assert float(ours.compute()) == pytest.approx(float(theirs.compute()), rel=1e-6)
