"""Curves as inline SVG, and the axes that all figures share.

Colors and patterns of lines are classes, which the page defines.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from lot_cli.page.elements import DASHES, text

WIDTH, HEIGHT = 360, 230
LEFT, RIGHT, TOP, BOTTOM = 52, 10, 10, 34
FEW = 16
"""Points of a curve up to which each has a dot: a single one would not show."""
MOST = 600
"""Points of a curve that are drawn at most."""
ALIKE = 0.005
"""Part of the height of a figure below which two curves cannot be told apart."""

Scale = Callable[[float], float]


class Line(NamedTuple):
    """A curve: its name, color and pattern, and its points; band: low and high end of its interval at each point."""

    name: str
    color: int
    dash: int
    x: Sequence[float]
    y: Sequence[float]
    band: tuple[Sequence[float], Sequence[float]] | None = None
    faint: bool = False  # the values behind a smoothed curve


def curves(
    lines: Sequence[Line],
    label: str,
    limits: tuple[float, float] | None = None,
    *,
    log: bool = False,
    axis: str = "step",
) -> str:
    """Curves over `axis`; empty where there is no point. All values are finite.

    label: what is drawn, for those who do not see it. limits: the vertical range (a share stays within 0 and 1); default:
    that of the curves and bands. log: a logarithmic vertical axis, for values above 0.
    """
    places = [place for line in lines for place in line.x]
    edges = [value for line in lines for values in (line.y, *(line.band or ())) for value in values]
    if not places:
        return ""
    bottom, top = widened(min(edges), max(edges)) if not log else (min(edges) / 1.15, max(edges) * 1.15)
    if limits is not None:
        bottom, top = max(bottom, limits[0]), min(top, limits[1])
    x = scale(min(places), max(places), LEFT, WIDTH - RIGHT)
    linear = scale(math.log(bottom), math.log(top), HEIGHT - BOTTOM, TOP) if log else None
    y: Scale = (lambda value: linear(math.log(value))) if linear else scale(bottom, top, HEIGHT - BOTTOM, TOP)

    def path(across: Sequence[float], values: Sequence[float]) -> list[str]:
        return [f"{x(a):.1f},{y(min(max(v, bottom), top)):.1f}" for a, v in zip(across, values, strict=True)]

    marks = decades(bottom, top) if log else ticks(bottom, top)
    parts = [*axis_y(marks, y), *axis_x(min(places), max(places), x, axis)]
    for line in lines:
        if line.band is not None:
            low, high = line.band
            edge = path(line.x, high) + path(line.x, low)[::-1]
            parts.append(f'<polygon class="band series-{line.color}" points="{" ".join(edge)}"/>')
        points = path(*thinned(line.x, line.y))
        style = f"line series-{line.color} dash-{line.dash}" + (" faint-line" if line.faint else "")
        drawn = f'<polyline class="{style}" points="{" ".join(points)}">'
        parts.append(f"{drawn}<title>{text(line.name)}</title></polyline>")
        if len(points) <= FEW and not line.faint:
            radius = 3.6 - 0.4 * line.dash  # of curves that coincide, each shows around those above it
            parts += [
                f'<circle class="dot series-{line.color}" cx="{a}" cy="{b}" r="{radius:.1f}"/>'
                for a, _, b in (point.partition(",") for point in points)
            ]
    return svg(parts, label)


def coinciding(lines: Sequence[Line]) -> list[list[str]]:
    """Names of curves that lie on each other along their whole course, group by group."""
    values = [value for line in lines for value in line.y]
    room = ALIKE * (max(values) - min(values)) if values else 0.0
    groups: list[list[Line]] = []
    for line in lines:
        for group in groups:
            other = group[0]
            if list(line.x) == list(other.x) and all(abs(a - b) <= room for a, b in zip(line.y, other.y, strict=True)):
                group.append(line)
                break
        else:
            groups.append([line])
    return [[line.name for line in group] for group in groups if len(group) > 1]


def coinciding_words(lines: Sequence[Line]) -> str:
    """A clause that says which curves lie on each other; empty where none do."""
    return "".join(f"; {', '.join(group[:-1])} and {group[-1]} coincide" for group in coinciding(lines))


def dash_of(place: int) -> int:
    """The pattern of the curve at `place` among those of a figure: the first alone has no gaps, through which the curves
    show that were drawn before."""
    return place if place == 0 else 1 + (place - 1) % (DASHES - 1)


def thinned(x: Sequence[float], y: Sequence[float]) -> tuple[list[float], list[float]]:
    """At most `MOST` points: of each stretch the lowest and the highest, so that no peak is lost."""
    if len(x) <= MOST:
        return list(x), list(y)
    kept = []
    for stretch in range(MOST // 2):
        start, end = (len(x) * edge // (MOST // 2) for edge in (stretch, stretch + 1))
        kept += sorted({min(range(start, end), key=y.__getitem__), max(range(start, end), key=y.__getitem__)})
    return [x[index] for index in kept], [y[index] for index in kept]


def ticks(low: float, high: float, count: int = 4) -> list[float]:
    """About `count` round numbers from `low` to `high`."""
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [index * step for index in range(first, last + 1)]


def decades(low: float, high: float) -> list[float]:
    """Round numbers on a logarithmic axis: powers of ten, with what lies between them where these are few."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1,) if len(powers) > 5 else (1, 3) if len(powers) > 3 else (1, 2, 5)
    return [factor * 10.0**power for power in powers for factor in factors if low <= factor * 10.0**power <= high]


def axis_y(marks: Sequence[float], y: Scale) -> Iterator[str]:
    """Lines and numbers of the vertical axis."""
    for tick in marks:
        yield f'<line class="grid" x1="{LEFT}" y1="{y(tick):.1f}" x2="{WIDTH - RIGHT}" y2="{y(tick):.1f}"/>'
        yield f'<text class="tick" x="{LEFT - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:.6g}</text>'


def axis_x(first: float, last: float, x: Scale, axis: str = "step") -> Iterator[str]:
    """Numbers and name of the horizontal axis."""
    for tick in ticks(first, last) if last > first else [first]:
        shown = f"{tick:,.10g}"
        edge = min(x(tick), WIDTH - 3.3 * len(shown))  # the last number stays in the picture
        yield f'<text class="tick" x="{edge:.1f}" y="{HEIGHT - 16}" text-anchor="middle">{shown}</text>'
    yield f'<text class="tick" x="{WIDTH - RIGHT}" y="{HEIGHT - 2}" text-anchor="end">{text(axis)}</text>'


def svg(parts: Sequence[str], label: str, height: int = HEIGHT, width: int = WIDTH) -> str:
    """The figure of these parts; label: what it shows, for those who do not see it."""
    return f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{text(label)}">{"".join(parts)}</svg>'


def scale(low: float, high: float, start: float, end: float) -> Scale:
    """The linear map that takes `low` to `start` and `high` to `end`."""
    span = high - low or 1.0
    return lambda value: start + (value - low) / span * (end - start)


def widened(low: float, high: float) -> tuple[float, float]:
    """A range with a little room on both sides, never empty."""
    room = (high - low) * 0.06 or abs(high) * 0.05 or 1.0
    return low - room, high + room
