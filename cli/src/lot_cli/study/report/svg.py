"""Small figures as inline SVG: learning curves, paired points, intervals.

Colors are classes, which the page defines.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from html import escape

from lot_cli.study.result import Comparison, Curve
from lot_cli.terminal.numbers import number, signed

WIDTH, HEIGHT = 360, 230
LEFT, RIGHT, TOP, BOTTOM = 52, 10, 10, 34
LONGEST = 16  # characters of a name under the axis

Scale = Callable[[float], float]


def curves(arms: Sequence[tuple[str, int, Curve]], label: str, limits: tuple[float, float] | None = None) -> str:
    """Learning curves (name, series, curve of each arm) over steps: means with their bands.

    limits: the vertical range (a share stays within 0 and 1); default: that of the bands.
    """
    steps = [step for _, _, curve in arms for step in curve.steps]
    edges = [value for _, _, curve in arms for value in (*curve.low, *curve.high)]
    if not steps:
        return ""
    bottom, top = _widen(min(edges), max(edges))
    if limits is not None:
        bottom, top = max(bottom, limits[0]), min(top, limits[1])
    x = _scale(min(steps), max(steps), LEFT, WIDTH - RIGHT)
    y = _scale(bottom, top, HEIGHT - BOTTOM, TOP)

    def path(curve: Curve, values: Sequence[float]) -> list[str]:
        return [f"{x(s):.1f},{y(min(max(v, bottom), top)):.1f}" for s, v in zip(curve.steps, values, strict=True)]

    parts = [*_axis_y(bottom, top, y), *_axis_x(min(steps), max(steps), x)]
    for name, series, curve in arms:
        band = path(curve, curve.high) + path(curve, curve.low)[::-1]
        parts.append(f'<polygon class="band series-{series}" points="{" ".join(band)}"/>')
        line = f'<polyline class="line series-{series}" points="{" ".join(path(curve, curve.mean))}">'
        parts.append(f"{line}<title>{escape(name)}</title></polyline>")
    return _figure(parts, f"{label} on validation over training steps", HEIGHT)


def points(arms: Sequence[tuple[str, int, Sequence[float | None]]], seeds: Sequence[int], label: str) -> str:
    """The value of every seed, arm by arm (name, series, values).

    A line joins the values of one seed; a lost one is a cross.
    """
    finite = [value for _, _, values in arms for value in values if value is not None]
    if not finite:
        return ""
    bottom, top = _widen(min(finite), max(finite))
    y = _scale(bottom, top, HEIGHT - BOTTOM - 8, TOP)
    gap = (WIDTH - LEFT - RIGHT) / len(arms)
    x = [LEFT + gap * (index + 0.5) for index in range(len(arms))]
    parts = [*_axis_y(bottom, top, y), *_pairs([values for _, _, values in arms], x, y)]
    slanted = any(len(name) * 6.2 > gap for name, _, _ in arms)  # names that do not fit side by side
    for place, (name, series, values) in zip(x, arms, strict=True):
        parts += [_dot(name, series, seed, value, place, y) for seed, value in zip(seeds, values, strict=True)]
        parts.append(_name_below(name, place, slanted))
    return _figure(parts, f"{label} of every seed, by arm", HEIGHT + (50 if slanted else 0))


def _pairs(columns: Sequence[Sequence[float | None]], x: Sequence[float], y: Scale) -> Iterator[str]:
    """A line between the values of one seed in arms that stand side by side."""
    for row in zip(*columns, strict=True):
        for index, (one, other) in enumerate(itertools.pairwise(row)):
            if one is not None and other is not None:
                ends = f'x1="{x[index]:.1f}" y1="{y(one):.1f}" x2="{x[index + 1]:.1f}" y2="{y(other):.1f}"'
                yield f'<line class="pair" {ends}/>'


def _dot(name: str, series: int, seed: int, value: float | None, x: float, y: Scale) -> str:
    """The value of one seed; a cross below the axis where it is lost."""
    title = f"<title>{escape(f'{name}, seed {seed}')}: {number(value, absent='diverged')}</title>"
    if value is None:
        return f'<path class="lost" d="M {x:.1f} {HEIGHT - BOTTOM - 3} m -4 -4 l 8 8 m 0 -8 l -8 8">{title}</path>'
    return f'<circle class="dot series-{series}" cx="{x:.1f}" cy="{y(value):.1f}" r="4">{title}</circle>'


def _name_below(name: str, x: float, slanted: bool) -> str:
    """The name of an arm under the axis, shortened to `LONGEST` characters."""
    shown = name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"
    turn = f'text-anchor="end" transform="rotate(-40 {x:.1f} {HEIGHT - 18})"' if slanted else 'text-anchor="middle"'
    return f'<text class="tick" x="{x:.1f}" y="{HEIGHT - (18 if slanted else 14)}" {turn}>{escape(shown)}</text>'


def difference(c: Comparison, span: float, series: int) -> str:
    """The difference of a comparison with its interval, on a line from -span to span;
    the margin is a band.

    span: in the metric's unit, with zero in the middle. Raises ValueError for a comparison without
    an interval.
    """
    if c.mean is None or c.low is None or c.high is None:
        raise ValueError(f"{c.arm} in {c.metric}: expected a comparison with an interval")
    width, height = 200, 26
    x = _scale(-span, span, 6, width - 6)
    parts = []
    if c.margin is not None:
        edge = min(c.margin, span)
        place = f'x="{x(-edge):.1f}" y="2" width="{x(edge) - x(-edge):.1f}" height="{height - 4}"'
        parts.append(f'<rect class="margin" {place}/>')
    parts.append(f'<line class="zero" x1="{x(0):.1f}" y1="0" x2="{x(0):.1f}" y2="{height}"/>')
    parts.append(f'<line class="line series-{series}" x1="{x(c.low):.1f}" y1="13" x2="{x(c.high):.1f}" y2="13"/>')
    parts.append(f'<circle class="dot series-{series}" cx="{x(c.mean):.1f}" cy="13" r="4"/>')
    return _figure(parts, f"{c.arm} in {c.metric}: {signed(c.mean)}", height, width)


def ticks(low: float, high: float, count: int = 4) -> list[float]:
    """About `count` round numbers from `low` to `high`."""
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def _axis_y(bottom: float, top: float, y: Scale) -> Iterator[str]:
    for tick in ticks(bottom, top):
        yield f'<line class="grid" x1="{LEFT}" y1="{y(tick):.1f}" x2="{WIDTH - RIGHT}" y2="{y(tick):.1f}"/>'
        yield f'<text class="tick" x="{LEFT - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:.6g}</text>'


def _axis_x(first: float, last: float, x: Scale) -> Iterator[str]:
    for tick in ticks(first, last) if last > first else [first]:
        yield f'<text class="tick" x="{x(tick):.1f}" y="{HEIGHT - 16}" text-anchor="middle">{tick:g}</text>'
    yield f'<text class="tick" x="{WIDTH - RIGHT}" y="{HEIGHT - 2}" text-anchor="end">step</text>'


def _figure(parts: Sequence[str], label: str, height: int, width: int = WIDTH) -> str:
    inside = "".join(parts)
    return f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label, quote=True)}">{inside}</svg>'


def _scale(low: float, high: float, start: float, end: float) -> Scale:
    span = high - low or 1.0
    return lambda value: start + (value - low) / span * (end - start)


def _widen(low: float, high: float) -> tuple[float, float]:
    """A range with a little room on both sides, never empty."""
    room = (high - low) * 0.06 or abs(high) * 0.05 or 1.0
    return low - room, high + room
