"""A sweep for people and programs: the table in the terminal, and the files in its folder. Imports no torch."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs
from rich.box import SIMPLE_HEAD
from rich.table import Table

from lot.storage.files import write_atomic, write_json
from lot_cli.study.report.export import to_csv
from lot_cli.sweep.page import to_html
from lot_cli.sweep.points import Point
from lot_cli.sweep.result import SweepResult
from lot_cli.sweep.table import best_line, cells, heading, sheet, titles
from lot_cli.terminal.console import console, warning_text
from lot_cli.terminal.markdown import table as markdown_table
from lot_cli.terminal.text import page_width

BEST = "best.yaml"
"""The configuration of the best row, in the folder of the sweep."""
SHOWN = 20
"""Rows that the terminal shows."""


def write_files(result: SweepResult, points: Sequence[Point], folder: Path) -> list[str]:
    """Write sweep.json, sweep.csv, report.md, report.html and the best configuration; returns their names. Raises OSError."""
    write_json(folder / "sweep.json", result.to_dict())
    write_atomic(folder / "sweep.csv", to_csv(sheet(result)))
    write_atomic(folder / "report.md", to_markdown(result, folder))
    write_atomic(folder / "report.html", to_html(result, [*next_steps(result, folder)]))
    if result.best is None:
        (folder / BEST).unlink(missing_ok=True)  # of an earlier sweep in this folder
        return ["report.html", "report.md", "sweep.json", "sweep.csv"]
    config = next(point.config for point in points if point.values == result.best)
    best = attrs.evolve(config, seed=result.seeds[0], train=attrs.evolve(config.train, test=True))
    write_atomic(folder / BEST, best.to_yaml())
    return ["report.html", "report.md", "sweep.json", "sweep.csv", BEST]


def show(result: SweepResult, folder: Path, *, stderr: bool = False) -> None:
    """Print the table, what speaks against it, the best configuration and what to do next."""
    where = console(stderr=stderr)
    if not where.is_terminal:
        where.width = page_width()
    where.print(result.name, style="bold")
    where.print(heading(result), soft_wrap=True, highlight=False)
    where.print()
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)
    for title in titles(result):
        table.add_column(title, justify="right")
    rows = list(cells(result))
    for row in rows[:SHOWN]:
        table.add_row(*row)
    where.print(table)
    if len(rows) > SHOWN:
        where.print(f"and {len(rows) - SHOWN} more in {folder / 'sweep.csv'}", soft_wrap=True, highlight=False)
    where.print()
    for warning in result.warnings:
        where.print(warning_text(warning), soft_wrap=True)
    if (said := best_line(result)) is not None:
        where.print(said, style="bold", soft_wrap=True, highlight=False)
    for what, command in next_steps(result, folder):
        where.print(f"  {what}: {command}", soft_wrap=True, highlight=False)


def next_steps(result: SweepResult, folder: Path) -> Iterator[tuple[str, str]]:
    """What a user may want now -> the command."""
    if result.best is not None:
        yield "train the best and test it once", f"lot run --config {shlex.quote(str(folder / BEST))}"
    again = "go on with the sweep" if result.unfinished else "repeat it, or go on after a change"
    yield again, result.command


def to_markdown(result: SweepResult, folder: Path) -> str:
    """The whole report as Markdown."""
    lines = [f"# {result.name}", "", *([f"**{said}**", ""] if (said := best_line(result)) is not None else [])]
    lines += [f"> Warning: {warning}  " for warning in result.warnings]
    head = ["place", *titles(result, every_metric=True)[1:-1], "remark"]
    lines += ["", f"## {heading(result)}", "", *markdown_table(head, cells(result, every_metric=True))]
    lines += ["", "## Next", ""]
    lines += [f"- {what}: `{command}`" for what, command in next_steps(result, folder)]
    return "\n".join([*lines, "", f"Made {result.date} with runs under `{folder / 'runs'}`."]) + "\n"
