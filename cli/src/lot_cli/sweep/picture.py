"""Pictures of a sweep as inline SVG: the objective against each option, and over each pair of a grid of two. Imports no torch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import attrs

from lot_cli.page.elements import text
from lot_cli.page.figures import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Scale,
    axis_y,
    decades,
    scale,
    svg,
    ticks,
    widened,
)
from lot_cli.study.design.grids import is_numeric
from lot_cli.sweep.file import shown_value
from lot_cli.sweep.result import Row, SweepResult
from lot_cli.sweep.values import is_logarithmic
from lot_cli.terminal.numbers import number

FEW = 7
"""Values up to which each has its own mark under the picture."""
LONGEST = 12
"""Characters of a mark."""
LETTER = 6.5
"""Width of a letter of a mark."""
LOGARITHMIC = 20.0
"""Ratio of the largest to the least value from which an axis has equal ratios side by side."""
MOST_CELLS = 12
"""Values of an option up to which a pair is drawn as a field of cells."""


@attrs.frozen
class Axis:
    """Where the values of an option stand in a picture."""

    place: Scale  # value, or its number among the values of an option that are no numbers -> x
    marks: list[tuple[float, str]]  # x and text
    numbers: dict[str, int]  # of the values, where they are no numbers

    def x(self, value: Any) -> float:
        """Where a value stands."""
        return self.place(self.numbers[shown_value(value)] if self.numbers else value)


def against(result: SweepResult, path: str) -> str:
    """The objective of every configuration against one option; what has no score is a cross. Empty where nothing has one."""
    scores = [row.score for row in result.rows if row.score is not None]
    if not scores:
        return ""
    axis = _axis(result, path)
    low, high = widened(min(scores), max(scores))
    y = scale(low, high, HEIGHT - BOTTOM - 8, TOP)
    parts = [*axis_y(ticks(low, high), y), *_marks(axis)]
    for row in reversed(result.rows):  # the best one lies on top
        parts.append(_dot(result, row, axis.x(row.values[path]), y))
    parts.append(f'<text class="tick" x="{WIDTH - RIGHT}" y="{HEIGHT - 2}" text-anchor="end">{text(path)}</text>')
    return svg(parts, f"{result.objective} on validation against {path}")


def field(result: SweepResult) -> str:
    """The objective over a grid of two options, a cell for each pair; empty for any other sweep.

    The darker a cell, the better; the best has a frame.
    """
    if len(result.paths) != 2 or not result.sweep["grid"]:
        return ""
    columns, rows = (_ordered(result, path) for path in result.paths)
    scores = [row.score for row in result.rows if row.score is not None]
    if not scores or max(len(columns), len(rows)) > MOST_CELLS:
        return ""
    left, bottom, top = 70, 40, 8
    width, height = (WIDTH - left - 8) / len(columns), max(18.0, min(40.0, 240 / len(rows)))
    tall = round(top + height * len(rows) + bottom)
    parts: list[str] = []
    for row in result.rows:
        x = left + width * columns.index(shown_value(row.values[result.paths[0]]))
        y = top + height * (len(rows) - 1 - rows.index(shown_value(row.values[result.paths[1]])))
        parts += _cell(result, row, (x, y, width, height), (min(scores), max(scores)))
    for place, value in enumerate(columns):
        x = left + width * (place + 0.5)
        parts.append(_mark(x, tall - bottom + 14, value, "middle"))
    for place, value in enumerate(rows):
        y = top + height * (len(rows) - 0.5 - place) + 4
        parts.append(_mark(left - 6, y, value, "end"))
    parts.append(f'<text class="tick" x="{WIDTH - 8}" y="{tall - 6}" text-anchor="end">{text(result.paths[0])}</text>')
    parts.append(f'<text class="tick" x="2" y="{tall - 6}">{text(result.paths[1])} (upward)</text>')
    return svg(parts, f"{result.objective} on validation over {result.paths[0]} and {result.paths[1]}", tall)


def _axis(result: SweepResult, path: str) -> Axis:
    values = [row.values[path] for row in result.rows]
    start, end = LEFT + 14.0, WIDTH - RIGHT - 10.0
    if not is_numeric(values):
        names = _ordered(result, path)
        place = scale(-0.5, len(names) - 0.5, LEFT, WIDTH - RIGHT)
        return Axis(
            place, [(place(i), name) for i, name in enumerate(names)], {name: i for i, name in enumerate(names)}
        )
    low, high = min(values), max(values)
    given = (result.sweep["grid"] or result.sweep["random"])[path]
    log = low > 0 and (is_logarithmic(given) or high / low >= LOGARITHMIC)
    linear = scale(math.log(low), math.log(high), start, end) if log else None
    place = (lambda value: linear(math.log(value))) if linear else scale(low, high, start, end)
    distinct = sorted(set(values))
    marks = distinct if len(distinct) <= FEW else decades(low, high) if log else ticks(low, high)
    return Axis(place, _apart([(place(mark), f"{mark:g}") for mark in marks]), {})


def _apart(marks: Sequence[tuple[float, str]]) -> list[tuple[float, str]]:
    """The marks that do not run into the one before them."""
    kept: list[tuple[float, str]] = []
    for x, value in marks:
        if not kept or x - kept[-1][0] >= LETTER * (len(value) + len(kept[-1][1])) / 2 + 4:
            kept.append((x, value))
    return kept


def _ordered(result: SweepResult, path: str) -> list[str]:
    """The values of an option as texts: numbers by size, others as the sweep lists them."""
    values = [row.values[path] for row in result.rows]
    if is_numeric(values):
        return list(dict.fromkeys(shown_value(value) for value in sorted(values)))
    given = (result.sweep["grid"] or result.sweep["random"])[path]
    listed = given if isinstance(given, list) else given.get("choice", []) if isinstance(given, dict) else []
    return list(dict.fromkeys([*map(shown_value, listed), *map(shown_value, values)]))


def _marks(axis: Axis) -> Iterator[str]:
    for x, value in axis.marks:
        yield _mark(x, HEIGHT - 16, value, "middle")


def _mark(x: float, y: float, value: str, anchor: str) -> str:
    shown = value if len(value) <= LONGEST else f"{value[: LONGEST - 1]}…"
    return f'<text class="tick" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{text(shown)}</text>'


def _said(result: SweepResult, row: Row) -> str:
    """What a reader sees who points at a configuration."""
    values = ", ".join(f"{path} = {shown_value(value)}" for path, value in row.values.items())
    return f"<title>{text(values)}: {number(row.score, absent=row.state)}</title>"


def _dot(result: SweepResult, row: Row, x: float, y: Scale) -> str:
    if row.score is None:
        return f'<path class="lost" d="M {x:.1f} {HEIGHT - BOTTOM - 3} m -4 -4 l 8 8 m 0 -8 l -8 8">{_said(result, row)}</path>'
    series, size = (2, 6) if row is result.best_row else (1, 4)
    return f'<circle class="dot series-{series}" cx="{x:.1f}" cy="{y(row.score):.1f}" r="{size}">{_said(result, row)}</circle>'


def _cell(
    result: SweepResult, row: Row, box: tuple[float, float, float, float], ends: tuple[float, float]
) -> Sequence[str]:
    x, y, width, height = box
    inside = f'x="{x + 1:.1f}" y="{y + 1:.1f}" width="{width - 2:.1f}" height="{height - 2:.1f}"'
    if row.score is None:
        parts = [f'<rect class="margin" {inside}>{_said(result, row)}</rect>']
    else:
        low, high = ends
        share = (row.score - low) / (high - low) if high > low else 0.5
        share = share if result.higher_is_better else 1 - share
        style = f'style="fill-opacity: {0.08 + 0.5 * share:.2f}; opacity: 1"'
        parts = [f'<rect class="band series-1" {style} {inside}>{_said(result, row)}</rect>']
    if row is result.best_row:
        parts.append(f'<rect class="line series-2" {inside}/>')
    shown = number(row.score) if row.score is not None else row.state
    if len(shown) * LETTER <= width:
        mark = _mark(x + width / 2, y + height / 2 + 4, shown, "middle")
        parts.append(mark.replace("<text ", '<text style="fill: var(--ink)" ', 1))
    return parts
