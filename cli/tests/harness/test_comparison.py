"""The arms of a study on answers of lm_eval: paired by seed as metrics of studies are, and by example beside it."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
from invented_result import invented

from lot_cli.harness.comparison import compare, save
from lot_cli.harness.records import Answer
from lot_cli.study import Result
from lot_cli.study.analysis.judge import judge

EXAMPLES = 40
Values = dict[str, list[list[float]]]
"""arm -> seed -> value of each example."""


def study(**changes: Any) -> Result:
    """The invented study, in which every run has a key of its own."""
    result = invented(**changes)
    return attrs.evolve(result, runs=[attrs.evolve(row, key=row.name) for row in result.runs])


def answer(values: list[float], *, metric: str = "acc", leak: bool = False, shift: int = 0) -> Answer:
    """What a run gave on a task whose metric is a mean over examples."""
    rows = [
        {
            "doc_id": place,
            "filter": "none",
            "doc_hash": hashlib.sha256(str(place + shift).encode()).hexdigest(),
            "metrics": {metric: value},
        }
        for place, value in enumerate(values)
    ]
    summary = {
        "task": "quiz",
        "key": "0" * 16,
        "leak": leak,
        "metrics": {f"{metric},none": float(np.mean(values))},
        "higher_is_better": {metric: True},
    }
    return Answer(summary=summary, rows=rows, reused=False)


def values_of(result: Result) -> Values:
    rng = np.random.default_rng(7)
    base = rng.random((len(result.seeds), EXAMPLES))
    gains = {"vanilla": 0.0, "lattice": 0.3, "wild": 0.0}
    return {arm: [list(row + gains[arm] + 0.05 * rng.normal(size=EXAMPLES)) for row in base] for arm in result.arms}


def answers_of(result: Result, values: Values, **options: Any) -> dict[str, list[Answer]]:
    return {row.key: [answer(values[row.arm][row.seed], **options)] for row in result.runs if row.state == "complete"}


def test_contrasts_are_those_of_studies_on_the_values_of_the_runs() -> None:
    result = study()
    values = values_of(result)
    found = compare(result, answers_of(result, values))
    means: dict[str, list[float | None]] = {arm: [float(np.mean(v)) for v in of] for arm, of in values.items()}
    means["wild"][5] = None  # that run diverged
    scores = {arm: {"quiz acc": of} for arm, of in means.items()}
    expected = judge(scores, [("lattice", "vanilla"), ("wild", "vanilla")], {"quiz acc": True}, {}, result.study.alpha)
    for ours, theirs in zip(found.comparisons, expected, strict=True):
        assert (ours.mean, ours.low, ours.p_adjusted, ours.verdict) == (
            theirs.mean,
            theirs.low,
            theirs.p_adjusted,
            theirs.verdict,
        )
        assert ours.diverged == theirs.diverged
    assert found.comparisons[0].verdict == "better"
    assert found.comparisons[1].diverged == (1, 0)
    assert found.means["lattice"]["quiz acc"].mean == pytest.approx(np.mean(values["lattice"]))


def test_the_error_over_examples_is_that_of_a_mean_of_paired_differences() -> None:
    result = study()
    values = values_of(result)
    found = compare(result, answers_of(result, values)).comparisons[0]
    differences = (np.array(values["lattice"]) - np.array(values["vanilla"])).mean(0)
    assert found.examples == EXAMPLES
    assert found.example_error == pytest.approx(differences.std(ddof=1) / math.sqrt(EXAMPLES), rel=1e-9)


def test_runs_that_saw_other_examples_are_not_paired_by_example() -> None:
    result = study()
    answers = answers_of(result, values_of(result))
    key = next(row.key for row in result.runs if row.arm == "lattice")
    answers[key] = [answer(values_of(result)["lattice"][0], shift=1)]
    found = compare(result, answers).comparisons[0]
    assert found.mean is not None
    assert found.example_error is None


def test_a_metric_that_is_no_mean_of_its_examples_has_no_error_over_them() -> None:
    result = study()
    answers = answers_of(result, values_of(result))
    for (of,) in answers.values():
        of.summary["metrics"]["acc,none"] += 1.0
    assert compare(result, answers).comparisons[0].example_error is None


def test_bits_per_byte_is_a_ratio_of_sums() -> None:
    result = study()
    rng = np.random.default_rng(3)
    sizes = rng.integers(5, 50, EXAMPLES)
    answers, totals = {}, {}
    for row in result.runs:
        if row.state != "complete":
            continue
        nats = (rng.random(EXAMPLES) + 2 * (row.arm == "vanilla")) * sizes
        found = answer([0.0] * EXAMPLES, metric="bits_per_byte")
        for place, kept in enumerate(found.rows):
            kept["metrics"]["bits_per_byte"] = [-float(nats[place]), int(sizes[place])]
        found.summary["metrics"] = {"bits_per_byte,none": float(nats.sum() / sizes.sum() / math.log(2))}
        found.summary["higher_is_better"] = {"bits_per_byte": False}
        answers[row.key], totals[row.arm, row.seed] = [found], nats
    c = compare(result, answers).comparisons[0]
    assert c.verdict == "better"
    difference = np.mean([totals["lattice", s] - totals["vanilla", s] for s in result.seeds], axis=0) / math.log(2)
    rest = difference - difference.sum() / sizes.sum() * sizes
    assert c.example_error == pytest.approx(
        math.sqrt(EXAMPLES / (EXAMPLES - 1) * (rest**2).sum()) / sizes.sum(), rel=1e-9
    )


def test_an_arm_that_leaks_gets_no_verdict() -> None:
    result = study()
    answers = answers_of(result, values_of(result))
    for row in result.runs:
        if row.arm == "lattice":
            answers[row.key][0].summary["leak"] = True
    assert compare(result, answers).comparisons[0].verdict == "leak"


def test_a_comparison_is_kept_with_the_keys_of_its_answers(tmp_path: Path) -> None:
    import json

    result = study()
    answers = answers_of(result, values_of(result))
    path = save(tmp_path, compare(result, answers), answers)
    kept = json.loads(path.read_text())
    assert path.parent == tmp_path / "harness"
    assert kept["metrics"] == {"quiz acc": True}
    assert kept["answers"]["lattice-seed0"] == {"quiz": "0" * 16}
    assert save(tmp_path, compare(result, answers), answers) == path


def test_a_metric_that_is_not_finite_in_the_first_run_is_compared_in_the_others() -> None:
    result = study()
    answers = answers_of(result, values_of(result))
    (first,) = next(iter(answers.values()))
    first.summary["metrics"]["acc,none"] = None
    compared = compare(result, answers)
    assert list(compared.metrics) == ["quiz acc"]
    row = result.runs[0]
    assert compared.scores[row.arm]["quiz acc"][result.seeds.index(row.seed)] is None
    assert sum(value is None for values in compared.scores.values() for value in values["quiz acc"]) < len(result.runs)
