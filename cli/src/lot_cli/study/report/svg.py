"""Small figures as inline SVG: learning curves, paired points, intervals. Colors are classes, which the page defines."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from html import escape
from typing import NamedTuple

from lot_cli.study.report.numbers import number, signed

WIDTH, HEIGHT = 360, 230
LEFT, RIGHT, TOP, BOTTOM = 52, 10, 10, 34
LONGEST = 16  # characters of a name under the axis

Scale = Callable[[float], float]


class Curve(NamedTuple):
    """A mean over training with its band, drawn in the color of the class `series-N`."""

    name: str
    series: int
    steps: Sequence[float]
    mean: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]


def curves(series: Sequence[Curve], label: str, limits: tuple[float, float] | None = None) -> str:
    """Learning curves over steps. limits: the vertical range (a share stays within 0 and 1); default: that of the bands."""
    steps = [step for curve in series for step in curve.steps]
    edges = [value for curve in series for value in (*curve.low, *curve.high)]
    if not steps:
        return ""
    bottom, top = _widen(min(edges), max(edges))
    if limits is not None:
        bottom, top = max(bottom, limits[0]), min(top, limits[1])
    x = _scale(min(steps), max(steps), LEFT, WIDTH - RIGHT)
    y = _scale(bottom, top, HEIGHT - BOTTOM, TOP)

    def clip(value: float) -> float:
        return y(min(max(value, bottom), top))

    parts = [*_axis_y(bottom, top, y), *_axis_x(min(steps), max(steps), x)]
    for curve in series:
        upper = [f"{x(s):.1f},{clip(v):.1f}" for s, v in zip(curve.steps, curve.high, strict=True)]
        lower = [f"{x(s):.1f},{clip(v):.1f}" for s, v in zip(curve.steps, curve.low, strict=True)]
        middle = [f"{x(s):.1f},{clip(v):.1f}" for s, v in zip(curve.steps, curve.mean, strict=True)]
        parts.append(f'<polygon class="band series-{curve.series}" points="{" ".join(upper + lower[::-1])}"/>')
        title = f"<title>{escape(curve.name)}</title>"
        parts.append(f'<polyline class="line series-{curve.series}" points="{" ".join(middle)}">{title}</polyline>')
    return _figure(parts, f"{label} on validation over training steps", HEIGHT)


def points(arms: Sequence[tuple[str, int, Sequence[float | None]]], seeds: Sequence[int], label: str) -> str:
    """The value of every seed, arm by arm (name, series, values), those of one seed joined; diverged runs are crosses below."""
    finite = [value for _, _, values in arms for value in values if value is not None]
    if not finite:
        return ""
    bottom, top = _widen(min(finite), max(finite))
    y = _scale(bottom, top, HEIGHT - BOTTOM - 8, TOP)
    gap = (WIDTH - LEFT - RIGHT) / len(arms)
    x = [LEFT + gap * (index + 0.5) for index in range(len(arms))]
    parts = list(_axis_y(bottom, top, y))
    for place, _seed in enumerate(seeds):
        row = [values[place] for _, _, values in arms]
        for index in range(len(arms) - 1):
            one, other = row[index], row[index + 1]
            if one is not None and other is not None:
                parts.append(
                    f'<line class="pair" x1="{x[index]:.1f}" y1="{y(one):.1f}" x2="{x[index + 1]:.1f}" y2="{y(other):.1f}"/>'
                )
    slanted = any(len(name) * 6.2 > gap for name, _, _ in arms)  # names that do not fit side by side
    for index, (name, series, values) in enumerate(arms):
        for seed, value in zip(seeds, values, strict=True):
            title = f"<title>{escape(name)}, seed {seed}: {number(value) if value is not None else 'diverged'}</title>"
            if value is None:
                spot = f"{x[index]:.1f} {HEIGHT - BOTTOM - 3}"
                parts.append(f'<path class="lost" d="M {spot} m -4 -4 l 8 8 m 0 -8 l -8 8">{title}</path>')
            else:
                parts.append(
                    f'<circle class="dot series-{series}" cx="{x[index]:.1f}" cy="{y(value):.1f}" r="4">{title}</circle>'
                )
        shown = name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"
        turn = (
            f'text-anchor="end" transform="rotate(-40 {x[index]:.1f} {HEIGHT - 18})"'
            if slanted
            else 'text-anchor="middle"'
        )
        parts.append(
            f'<text class="tick" x="{x[index]:.1f}" y="{HEIGHT - (18 if slanted else 14)}" {turn}>{escape(shown)}</text>'
        )
    return _figure(parts, f"{label} of every seed, by arm", HEIGHT + (50 if slanted else 0))


def difference(mean: float, low: float, high: float, span: float, margin: float | None, series: int, label: str) -> str:
    """A difference with its interval on a line from -span to span, zero in the middle, the margin as a band."""
    width, height = 200, 26
    x = _scale(-span, span, 6, width - 6)
    parts = []
    if margin is not None:
        edge = min(margin, span)
        parts.append(
            f'<rect class="margin" x="{x(-edge):.1f}" y="2" width="{x(edge) - x(-edge):.1f}" height="{height - 4}"/>'
        )
    parts.append(f'<line class="zero" x1="{x(0):.1f}" y1="0" x2="{x(0):.1f}" y2="{height}"/>')
    parts.append(f'<line class="line series-{series}" x1="{x(low):.1f}" y1="13" x2="{x(high):.1f}" y2="13"/>')
    parts.append(f'<circle class="dot series-{series}" cx="{x(mean):.1f}" cy="13" r="4"/>')
    return _figure(parts, f"{label}: {signed(mean)}", height, width)


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
