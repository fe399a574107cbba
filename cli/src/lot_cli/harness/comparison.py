"""The arms of a study on tasks of lm_eval: paired by seed, with the statistics of studies, and by example beside it."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import torch

from lot.errors import BadInput
from lot.runs.examples import ExampleLosses
from lot.storage.files import make_folder, write_json
from lot_cli.harness import records
from lot_cli.harness.records import Answer
from lot_cli.recorded.wording import lm_eval_metric
from lot_cli.study.analysis.examples import error_over_examples
from lot_cli.study.analysis.judge import judge
from lot_cli.study.analysis.scores import describe
from lot_cli.study.passports.verdicts import reasons, void
from lot_cli.study.result import Comparison, Result, RunRow, Summary
from lot_cli.study.result_file import FILE, load_result

FORMAT = 1
"""Of a comparison that is kept: a number that grows when a key goes or changes its meaning."""
Answers = Mapping[str, Sequence[Answer]]
"""key of a run -> its answers, one for each task."""
_SAME = 1e-9
"""Relative difference up to which a metric of lm_eval is the mean of its examples."""


@attrs.frozen(kw_only=True)
class Compared:
    """What tasks say of the arms of a study.

    metrics: `TASK METRIC` -> whether higher is better. means: arm -> metric -> mean over the seeds. comparisons: contrasts of
    the study in each metric, one family of tests. seeds: those of the study.
    """

    study: str
    metrics: dict[str, bool]
    means: dict[str, dict[str, Summary]]
    scores: dict[str, dict[str, list[float | None]]]
    comparisons: list[Comparison]
    seeds: list[int]
    alpha: float


def finished_study(folder: Path) -> Result:
    """The result of the study in a folder. Raises BadInput where there is none."""
    result = load_result(folder / FILE)
    if result is None:
        raise BadInput(f"{folder}: no finished study there (no {FILE})", fix="make it first: lot study FILE")
    return result


def runs_of(result: Result, folder: Path) -> list[tuple[RunRow, Path]]:
    """The runs of a study that can be asked, and where they are. Raises BadInput where one is gone."""
    found = [(row, folder / "runs" / row.key) for row in result.runs if row.state == "complete"]
    for row, path in found:
        if not (path / "config.yaml").exists():
            raise BadInput(f"{path}: the run {row.name} is gone", fix="make it again: lot study FILE")
    return found


def compare(result: Result, answers: Answers) -> Compared:
    """Judge the contrasts of a study on the answers of its runs. A run that diverged counts as in the study itself."""
    metrics = {
        f"{answer.summary['task']} {lm_eval_metric(metric)}": direction
        for of in answers.values()  # of every run: a number that is not finite in one of them is one in others
        for answer in of
        for metric, direction in _directions(answer).items()
    }
    tables = {key: _table(of) for key, of in answers.items()}
    keys = {(row.arm, row.seed): row.key for row in result.runs}

    def value(arm: str, metric: str, seed: int) -> float | None:
        return tables.get(keys.get((arm, seed), ""), {}).get(metric)

    scores = {
        arm: {metric: [value(arm, metric, seed) for seed in result.seeds] for metric in metrics} for arm in result.arms
    }
    contrasts = list(dict.fromkeys((c.arm, c.against) for c in result.comparisons))
    judged = judge(scores, contrasts, metrics, {}, result.study.alpha)
    fair = {(c.arm, c.against): (c.fair, c.budget, c.asked) for c in result.comparisons}
    told = [_as_in_study(_with_examples(c, result, keys, answers), *fair[c.arm, c.against]) for c in judged]
    passports = {name: arm.passport for name, arm in result.arms.items() if arm.passport is not None}
    leaking = {row.arm for row in result.runs if any(a.summary["leak"] for a in answers.get(row.key, ()))}
    return Compared(
        study=result.name,
        metrics=metrics,
        means={arm: {metric: describe(values) for metric, values in of.items()} for arm, of in scores.items()},
        scores=scores,
        comparisons=void(told, reasons(passports, leaking)),
        seeds=list(result.seeds),
        alpha=result.study.alpha,
    )


def save(folder: Path, compared: Compared, answers: Answers) -> Path:
    """Keep a comparison in the folder `harness` of its study, beside the keys of the answers in its runs. Raises OSError."""
    asked = {key: {answer.summary["task"]: answer.summary["key"] for answer in of} for key, of in answers.items()}
    name = "_".join(dict.fromkeys(metric.partition(" ")[0] for metric in compared.metrics))[:80]
    path = records.summary_file(folder, name, 0, records.key_of(asked))
    path = path.with_name(path.name.replace("-step_00000000", ""))
    make_folder(folder, records.FOLDER)
    date = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    write_json(path, records.plain({"format": FORMAT, "date": date, **attrs.asdict(compared), "answers": asked}))
    return path


def _directions(answer: Answer) -> dict[str, bool]:
    """The metrics of a task that are numbers, and whether higher is better."""
    directions = answer.summary["higher_is_better"]
    numbers = {k: v for k, v in answer.summary["metrics"].items() if isinstance(v, (int, float))}
    return {metric: bool(directions.get(metric.partition(",")[0], True)) for metric in numbers}


def _table(answers: Sequence[Answer]) -> dict[str, float | None]:
    """`TASK METRIC` -> what a run reached."""
    return {
        f"{a.summary['task']} {lm_eval_metric(metric)}": a.summary["metrics"][metric]
        for a in answers
        for metric in _directions(a)
    }


def _as_in_study(c: Comparison, fair: bool, budget: Any, asked: list[str]) -> Comparison:
    """With what the study found about the fairness of the two arms."""
    return attrs.evolve(c, fair=fair, budget=budget, asked=asked)


def _with_examples(c: Comparison, result: Result, keys: Mapping[tuple[str, int], str], answers: Answers) -> Comparison:
    """With the standard error over examples, where the metric is a mean of its examples and all runs saw the same ones."""
    pairs = []
    for seed in result.seeds:
        ours, theirs = (_by_example(answers.get(keys.get((arm, seed), ""), ()), c.metric) for arm in (c.arm, c.against))
        if ours is None or theirs is None:
            continue
        if ours[0] != theirs[0]:
            return c
        pairs.append((ours[1], theirs[1]))
    found = error_over_examples(pairs) if pairs else None
    return c if found is None else attrs.evolve(c, example_error=found.error, examples=found.examples)


def _by_example(answers: Sequence[Answer], metric: str) -> tuple[list[str], ExampleLosses] | None:
    """Hashes of the examples, and what each adds to the metric; None where the metric is no mean over examples."""
    for answer in answers:
        for name in _directions(answer):
            if f"{answer.summary['task']} {lm_eval_metric(name)}" == metric:
                return _mean_of(answer, name)
    return None


def _mean_of(answer: Answer, name: str) -> tuple[list[str], ExampleLosses] | None:
    bare, _, filtered = name.partition(",")
    rows = [row for row in answer.rows if row["filter"] == filtered and bare in row["metrics"]]
    values = [row["metrics"][bare] for row in rows]
    if all(isinstance(value, (int, float)) for value in values):  # booleans too
        sums, weights = [float(value) for value in values], [1] * len(values)
    elif bare == "bits_per_byte" and all(isinstance(v, list) and len(v) == 2 and None not in v for v in values):
        sums, weights = [-value[0] / math.log(2) for value in values], [int(value[1]) for value in values]
    else:
        return None
    whole = answer.summary["metrics"][name]
    if not values or not math.isclose(sum(sums) / sum(weights), whole, rel_tol=_SAME, abs_tol=1e-12):
        return None
    losses = ExampleLosses(torch.tensor(sums, dtype=torch.float64), torch.tensor(weights), 1)
    return [row["doc_hash"] for row in rows], losses
