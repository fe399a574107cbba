"""Answers and comparisons for people, in the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from lot_cli.harness.comparison import Compared
from lot_cli.harness.records import Answer
from lot_cli.recorded.wording import lm_eval_metric
from lot_cli.study.report import wording
from lot_cli.study.report.tables import difference_cells, effect_cell
from lot_cli.terminal.numbers import DASH, count, number, p_value

if TYPE_CHECKING:
    from lm_eval.api.group import Group


def group_metrics(groups: Mapping[str, Group], answers: Sequence[Answer]) -> dict[str, dict[str, float]]:
    """What lm_eval makes of the tasks of each group: `METRIC,FILTER` -> value, by its own weights."""
    of_tasks: dict[str, Any] = {
        answer.summary["task"]: {
            **{
                key: math.nan if v is None else v for key, v in answer.summary["metrics"].items()
            },  # else the mean of fewer
            **{key.replace(",", "_stderr,"): v for key, v in answer.summary["stderr"].items() if v is not None},
            "sample_len": answer.summary["examples"],
        }
        for answer in answers
    }
    found = {}
    for name, group in groups.items():
        numbers = {k: v for k, v in group.aggregate(of_tasks).items() if "," in k and "_stderr," not in k}
        if numbers:
            found[name] = numbers
    return found


def show_answers(
    where: Console, title: str, answers: Sequence[Answer], groups: Mapping[str, Mapping[str, Any]]
) -> None:
    """A row for each metric of each task; then the groups."""
    where.print(title, style="bold", soft_wrap=True)
    table = _table()
    for name in ("task", "metric", "value", "± stderr", "examples", "shots"):
        table.add_column(name, justify="left" if name in ("task", "metric") else "right")
    for answer in answers:
        told = answer.summary
        for metric, value in told["metrics"].items():
            error, better = told["stderr"].get(metric), told["higher_is_better"].get(metric.partition(",")[0])
            arrow = "" if better is None else " ↑" if better else " ↓"
            table.add_row(
                told["task"],
                f"{lm_eval_metric(metric)}{arrow}",
                _value(value),
                DASH if error is None else _value(error),
                f"{told['examples']:,} of {told['of']:,}" if told["examples"] != told["of"] else f"{told['of']:,}",
                str(told["num_fewshot"]),
            )
    for group, metrics in groups.items():
        for metric, value in metrics.items():
            table.add_row(f"{group} (group)", lm_eval_metric(metric), _value(value), "", "", "")
    where.print(table)


def show_comparison(where: Console, compared: Compared) -> None:
    """Means of the arms, contrasts by seed, and how far examples would move them."""
    where.print(f"{compared.study}: {count(len(compared.seeds), 'seed')}", style="bold", soft_wrap=True)
    means = _table()
    means.add_column("arm", no_wrap=True)
    for metric in compared.metrics:
        means.add_column(metric, justify="right")
    for arm, of in compared.means.items():
        means.add_row(arm, *(wording.mean(of[metric]) for metric in compared.metrics))
    where.print(means)
    for metric, higher in compared.metrics.items():
        table = _table(f"{metric} ({'higher' if higher else 'lower'} is better)")
        level = f"{100 * (1 - compared.alpha):.3g} %"
        for name in ("contrast", f"difference, {level} interval", "p", "effect", "± over examples", "verdict"):
            table.add_column(name, no_wrap=name == "contrast")
        for c in compared.comparisons:
            if c.metric == metric:
                table.add_row(
                    wording.pair_of(c),
                    " ".join(difference_cells(c)).strip(),
                    p_value(c.p_adjusted),
                    effect_cell(c),
                    DASH if c.example_error is None else f"{c.example_error:.2g}",
                    wording.short_verdict(c),
                )
        where.print(table)
    asked = count(len(compared.comparisons), "comparison")
    where.print(
        f"pairs are seeds; {asked} in one family, at alpha = {compared.alpha:g}, apart from the tests of the study itself: "
        "name the tasks before you look, for who asks often finds something",
        style="dim",
        soft_wrap=True,
    )


def _value(value: object) -> str:
    """A metric as text: a number, or what code of a task gives in its place."""
    return number(value, absent="not finite") if isinstance(value, (int, float, type(None))) else str(value)


def _table(title: str | None = None) -> Table:
    return Table(
        title=title, title_justify="left", box=SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True
    )
