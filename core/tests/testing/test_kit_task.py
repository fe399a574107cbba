"""The kit on tasks."""

from __future__ import annotations

import pytest
from kit_specimens import specimen, task_metrics, tasks

from lot.testing import KitFailure, NotApplicable, check_task, checks, examine

CHECKS = checks("task")

CAUGHT = [
    (tasks.NoTask, "builds", "lot.Task"),
    (tasks.UnknownLength, "builds", "length of validation"),
    (tasks.WideTokens, "shapes", "0 to 11"),
    (tasks.NarrowTokens, "shapes", "torch.int64"),
    (tasks.ShortBatch, "shapes", "shape of inputs"),
    (tasks.NothingScored, "shapes", "not -100"),
    (tasks.ScoredPadding, "shapes", "padding"),
    (tasks.UntoldDocuments, "shapes", "as task.segments says"),
    (tasks.NarrowDocuments, "shapes", "int64"),
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
    (tasks.LateOverlap, "splits", "an example of train too"),
    (tasks.ShiftedWindows, "near splits", "a window of one of train"),
    (tasks.DeclaredPool, "near splits", "at most a quarter"),
    (tasks.UndeclaredRepeats, "near splits", "a window of one of train"),
    (tasks.UndeclaredRepeats, "splits", "an example of train too"),
    (tasks.OverlapAtTheCut, "near splits", "a window of one of train"),
    (tasks.NearCopies, "near splits", "nearly a copy of one of train"),
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
    assert list(check_task(specimen(tasks.Honest, "task"))) == ["near splits"]  # ten tokens say too little
    assert list(check_task(specimen(tasks.Windows, "task"))) == ["token counts"]


def test_passages_that_a_text_repeats_are_told_when_the_task_says_so():
    result = examine(specimen(tasks.DeclaredRepeats, "task"))
    assert result.passed
    told = [line for line in result.told if line.endswith("(the text repeats a passage)")]
    assert told[0] == "examples of test that are examples of train too: 2 of 40 (the text repeats a passage)"
    assert told[1].startswith("examples of test that are a window of one of train, moved or with few tokens changed: ")


def test_what_is_read_of_a_large_split_is_told():
    result = examine(specimen(tasks.Large, "task"), seed=3)
    (line,) = [line for line in result.told if line.startswith("train: ")]
    assert line == "train: 52416 examples were read, drawn from seed 3; it has 60000"


@pytest.mark.parametrize("seed", [0, 2**31])
@pytest.mark.parametrize(("cls", "name", "told"), CAUGHT, ids=lambda value: getattr(value, "__name__", value))
def test_a_defect_fails_its_check_and_is_told(cls, name, told, seed):
    with pytest.raises(KitFailure) as failure:
        CHECKS[name](specimen(cls, "task"), seed=seed)
    assert told in str(failure.value)


def test_a_task_that_is_not_causal_may_show_its_answer():
    with pytest.raises(NotApplicable, match="not causal"):
        CHECKS["leak"](specimen(tasks.NonCausal, "task"))
