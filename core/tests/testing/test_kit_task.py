"""The kit on tasks."""

from __future__ import annotations

import pytest
from kit_specimens import specimen, task_metrics, tasks

from lot.testing import KitFailure, NotApplicable, check_task, checks

CHECKS = checks("task")

CAUGHT = [
    (tasks.NoTask, "builds", "lot.Task"),
    (tasks.UnknownLength, "builds", "length of validation"),
    (tasks.WideTokens, "shapes", "0 to 11"),
    (tasks.NarrowTokens, "shapes", "torch.int64"),
    (tasks.ShortBatch, "shapes", "shape of inputs"),
    (tasks.NothingScored, "shapes", "not -100"),
    (tasks.ScoredPadding, "shapes", "padding"),
    (tasks.Iterator, "pure", "asked for again"),
    (tasks.GlobalGenerator, "pure", "that of numpy"),
    (tasks.PythonGenerator, "pure", "that of random"),
    (tasks.IndexIgnored, "pure", "part of the key"),
    (tasks.IndexIgnored, "seeds", "part of the key"),
    (tasks.SeedIgnored, "seeds", "seeds 0 and 1"),
    (tasks.SharedExamples, "splits", "an example of train too"),
    (tasks.RepeatedExamples, "splits", "repetitions"),
    (tasks.KeyedByBatch, "evaluation order", "examples 0 to 3"),
    (tasks.LongLength, "evaluation order", "last batch of test"),
    (tasks.Endless, "evaluation order", "IndexError"),
    (tasks.SameOrder, "training length", "order of the second round"),
    (tasks.DrawsWithReplacement, "training length", "distinct"),
    (task_metrics.NoPrimary, "metrics", "exact_match"),
    (task_metrics.WrongDirection, "metrics", "lower is better"),
    (task_metrics.NoDirection, "metrics", "higher_is_better"),
    (task_metrics.AverageOfAverages, "metrics", "average"),
    (task_metrics.LossOverAll, "metrics", "ignored targets"),
    (tasks.NoText, "text", "decode"),
    (tasks.MovingExample, "text", "example"),
    (tasks.WideEncoding, "text", "encode"),
    (tasks.Unshifted, "leak", "not shifted"),
    (tasks.UncountedToken, "token counts", "[4]"),
    (tasks.ReadsFile, "assets", "states an origin"),
    (tasks.KeepsData, "assets", "first training example"),
    (tasks.ForgetsCounts, "assets", "token_counts"),
    (tasks.OtherBatches, "assets", "batch 0 of train"),
    (tasks.NestedAsset, "assets", "plain file name"),
]


def test_an_honest_task_passes_every_check():
    assert check_task(specimen(tasks.Honest, "task")) == {}


@pytest.mark.parametrize(("cls", "name", "told"), CAUGHT, ids=lambda value: getattr(value, "__name__", value))
def test_a_defect_fails_its_check_and_is_told(cls, name, told):
    with pytest.raises(KitFailure) as failure:
        CHECKS[name](specimen(cls, "task"))
    assert told in str(failure.value)


def test_a_task_that_is_not_causal_may_show_its_answer():
    with pytest.raises(NotApplicable, match="not causal"):
        CHECKS["leak"](specimen(tasks.NonCausal, "task"))
