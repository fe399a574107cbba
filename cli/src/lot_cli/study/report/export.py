"""The tables of a result as files: CSV with every digit, for programs, and LaTeX as the report shows them, for papers."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import attrs

from lot.storage.files import write_atomic
from lot_cli.study.report import equal_time, tables, wording
from lot_cli.study.result import Comparison, Cost, Result
from lot_cli.terminal.numbers import interval, number

FOLDER = "tables"
"""In the folder of a study."""


class Sheet(NamedTuple):
    """One table: its name, the titles of its columns, and its rows."""

    name: str
    titles: Sequence[str]
    rows: list[Sequence[Any]]


def write_tables(result: Result, folder: Path) -> None:
    """Write NAME.csv and NAME.tex of each table. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    for sheet in numbers(result):
        write_atomic(folder / f"{sheet.name}.csv", to_csv(sheet))
    for sheet in texts(result):
        write_atomic(folder / f"{sheet.name}.tex", to_latex(sheet))


def numbers(result: Result) -> Iterator[Sheet]:
    """The tables as plain values, which lose no digit; empty where there is none."""
    fields = [field.name for field in attrs.fields(Comparison)]
    yield Sheet("comparisons", fields, [[_flat(getattr(c, name)) for name in fields] for c in result.comparisons])
    yield Sheet("arms", *_arms(result))
    seeds = [
        (metric, seed, name, arm.scores[metric][place])
        for metric in result.metrics
        for place, seed in enumerate(result.seeds)
        for name, arm in result.arms.items()
    ]
    yield Sheet("seeds", ("metric", "seed", "arm", "value"), list(seeds))
    curves = [
        (metric, name, *point)
        for name, arm in result.arms.items()
        for metric, curve in arm.curves.items()
        for point in zip(curve.steps, curve.mean, curve.low, curve.high, strict=True)
    ]
    yield Sheet("curves", ("metric", "arm", "step", "mean", "low", "high"), list(curves))
    measured = [
        (scalar, name, *point)
        for name, arm in result.arms.items()
        for scalar, curve in arm.measured.items()
        for point in zip(curve.steps, curve.mean, curve.low, curve.high, strict=True)
    ]
    if measured:
        yield Sheet("diagnostics", ("scalar", "arm", "step", "mean", "low", "high"), list(measured))
    titles = ("run", "arm", "seed", "key", "state", "best_step", "steps")
    run_rows = [(r.name, r.arm, r.seed, r.key, r.state, r.best_step, r.steps) for r in result.runs]
    yield Sheet("runs", titles, list(run_rows))
    paths = list(dict.fromkeys(path for arm in result.arms.values() for t in arm.tuned.trials for path in t.values))
    trials = [
        (name, *(trial.values.get(path) for path in paths), trial.score, trial.loss, trial.diverged, trial.chosen)
        for name, arm in result.arms.items()
        for trial in arm.tuned.trials
    ]
    if trials:
        yield Sheet("tuning", ("arm", *paths, "score", "loss", "diverged", "chosen"), list(trials))


def texts(result: Result) -> Iterator[Sheet]:
    """The tables as the report shows them."""
    titles = ("arm", "metric", "difference", wording.interval_title(result), *tables.TEST_TITLES, "verdict")
    yield Sheet("comparisons", titles, [tables.comparison_row(result, c) for c in result.comparisons])
    if rows := list(equal_time.rows(result)):
        yield Sheet("equal_time", equal_time.TITLES, list(rows))
    means = tables.arm_rows(result, lambda s: f"{wording.mean(s)} {interval(s.low, s.high, number)}".strip())
    yield Sheet("arms", ("arm", *result.metrics, *tables.COST_TITLES), list(means))
    for metric in result.metrics:
        yield Sheet(f"seeds_{metric}", (metric, *result.arms), list(wording.seed_rows(result, metric)))
    if trials := list(tables.tuning_rows(result)):
        yield Sheet("tuning", tables.tuning_titles(result), list(trials))
    if claims := list(tables.claim_rows(result)):
        yield Sheet("claims", tables.CLAIM_TITLES, list(claims))


def to_csv(sheet: Sheet) -> str:
    """The table as CSV (RFC 4180 with line feeds); what is not known is an empty cell."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(sheet.titles)
    writer.writerows(sheet.rows)
    return text.getvalue()


def to_latex(sheet: Sheet) -> str:
    """The table as a `tabular` of the package booktabs."""
    lines = [
        f"% {sheet.name}; needs \\usepackage{{booktabs}}",
        f"\\begin{{tabular}}{{{'l' * len(sheet.titles)}}}",
        "\\toprule",
        _latex_row(sheet.titles),
        "\\midrule",
        *map(_latex_row, sheet.rows),
        "\\bottomrule",
        "\\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def _latex_row(cells: Iterable[Any]) -> str:
    return " & ".join(_latex(str(cell)) for cell in cells) + r" \\"


_LATEX = {
    "\\": r"\textbackslash{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "−": "$-$",
    "–": "--",
    "±": r"$\pm$",
    "≤": r"$\le$",
    "∞": r"$\infty$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "→": r"$\to$",
    "µ": r"$\mu$",
    "\n": " ",
}


def _latex(text: str) -> str:
    """Text in which nothing is a command of LaTeX."""
    escaped = "".join(_LATEX.get(character, character) for character in text)
    return f"{{{escaped}}}" if escaped.startswith("[") else escaped  # a bracket after \\ would be its argument


def _arms(result: Result) -> tuple[list[str], list[Sequence[Any]]]:
    costs = [field.name for field in attrs.fields(Cost)]
    of_metric = ("mean", "low", "high", "lost")
    titles = ["arm", *(f"{metric}_{part}" for metric in result.metrics for part in of_metric), "parameters", *costs]
    rows: list[Sequence[Any]] = [
        (
            name,
            *(getattr(arm.summary[metric], part) for metric in result.metrics for part in of_metric),
            result.parameters[name],
            *(getattr(arm.cost, cost) for cost in costs),
        )
        for name, arm in result.arms.items()
    ]
    return titles, rows


def _flat(value: Any) -> Any:
    """A value for one cell: parts of a list are parted by a space."""
    return " ".join(map(str, value)) if isinstance(value, (list, tuple)) else value
