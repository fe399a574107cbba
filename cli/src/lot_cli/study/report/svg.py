"""Small figures of a study as inline SVG: learning curves, paired points, intervals."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from lot_cli.page.elements import text
from lot_cli.page.figures import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    TOP,
    WIDTH,
    Line,
    Scale,
    axis_y,
    dash_of,
    scale,
    svg,
    ticks,
    widened,
)
from lot_cli.study.result import Comparison, Curve
from lot_cli.terminal.numbers import number, signed

LONGEST = 16  # characters of a name under the axis


def lines(arms: Sequence[tuple[str, int, Curve | None]]) -> list[Line]:
    """The curve of each arm (name, color, curve) with its band; patterns go by the order of the arms.

    An arm that has no point is left out.
    """
    return [
        Line(name, color, dash_of(place), curve.steps, curve.mean, (curve.low, curve.high))
        for place, (name, color, curve) in enumerate(arms)
        if curve is not None and curve.steps
    ]


def points(arms: Sequence[tuple[str, int, Sequence[float | None]]], seeds: Sequence[int], label: str) -> str:
    """The value of every seed, arm by arm (name, series, values).

    A line joins the values of one seed; a lost one is a cross.
    """
    finite = [value for _, _, values in arms for value in values if value is not None]
    if not finite:
        return ""
    bottom, top = widened(min(finite), max(finite))
    y = scale(bottom, top, HEIGHT - BOTTOM - 8, TOP)
    gap = (WIDTH - LEFT - RIGHT) / len(arms)
    x = [LEFT + gap * (index + 0.5) for index in range(len(arms))]
    parts = [*axis_y(ticks(bottom, top), y), *_pairs([values for _, _, values in arms], x, y)]
    slanted = any(len(name) * 6.2 > gap for name, _, _ in arms)  # names that do not fit side by side
    for place, (name, series, values) in zip(x, arms, strict=True):
        parts += [_dot(name, series, seed, value, place, y) for seed, value in zip(seeds, values, strict=True)]
        parts.append(_name_below(name, place, slanted))
    return svg(parts, f"{label} of every seed, by arm", HEIGHT + (50 if slanted else 0))


def _pairs(columns: Sequence[Sequence[float | None]], x: Sequence[float], y: Scale) -> Iterator[str]:
    """A line between the values of one seed in arms that stand side by side."""
    for row in zip(*columns, strict=True):
        for index, (one, other) in enumerate(itertools.pairwise(row)):
            if one is not None and other is not None:
                ends = f'x1="{x[index]:.1f}" y1="{y(one):.1f}" x2="{x[index + 1]:.1f}" y2="{y(other):.1f}"'
                yield f'<line class="pair" {ends}/>'


def _dot(name: str, series: int, seed: int, value: float | None, x: float, y: Scale) -> str:
    """The value of one seed; a cross below the axis where it is lost."""
    title = f"<title>{text(f'{name}, seed {seed}')}: {number(value, absent='diverged')}</title>"
    if value is None:
        return f'<path class="lost" d="M {x:.1f} {HEIGHT - BOTTOM - 3} m -4 -4 l 8 8 m 0 -8 l -8 8">{title}</path>'
    return f'<circle class="dot series-{series}" cx="{x:.1f}" cy="{y(value):.1f}" r="4">{title}</circle>'


def _name_below(name: str, x: float, slanted: bool) -> str:
    """The name of an arm under the axis, shortened to `LONGEST` characters."""
    shown = name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"
    turn = f'text-anchor="end" transform="rotate(-40 {x:.1f} {HEIGHT - 18})"' if slanted else 'text-anchor="middle"'
    return f'<text class="tick" x="{x:.1f}" y="{HEIGHT - (18 if slanted else 14)}" {turn}>{text(shown)}</text>'


def difference(c: Comparison, span: float, series: int) -> str:
    """The difference of a comparison with its interval, on a line from -span to span;
    the margin is a band.

    span: in the metric's unit, with zero in the middle. Raises ValueError for a comparison without
    an interval.
    """
    if c.mean is None or c.low is None or c.high is None:
        raise ValueError(f"{c.arm} in {c.metric}: expected a comparison with an interval")
    width, height = 200, 26
    x = scale(-span, span, 6, width - 6)
    parts = []
    if c.margin is not None:
        edge = min(c.margin, span)
        place = f'x="{x(-edge):.1f}" y="2" width="{x(edge) - x(-edge):.1f}" height="{height - 4}"'
        parts.append(f'<rect class="margin" {place}/>')
    parts.append(f'<line class="zero" x1="{x(0):.1f}" y1="0" x2="{x(0):.1f}" y2="{height}"/>')
    parts.append(f'<line class="line series-{series}" x1="{x(c.low):.1f}" y1="13" x2="{x(c.high):.1f}" y2="13"/>')
    parts.append(f'<circle class="dot series-{series}" cx="{x(c.mean):.1f}" cy="13" r="4"/>')
    return svg(parts, f"{c.arm} in {c.metric}: {signed(c.mean)}", height, width)
