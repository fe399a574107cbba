"""Figures as SVG: they hold what they say, in colors that the style sheet defines."""

from __future__ import annotations

import re
from importlib import resources

import pytest

from lot_cli.page import figures
from lot_cli.page.elements import DASHES, SERIES
from lot_cli.page.figures import Line, coinciding, curves, dash_of, thinned, ticks
from lot_cli.study.analysis.scores import curve
from lot_cli.study.report import svg
from lot_cli.study.report.html import series_of_arms


def test_many_arms_have_names_and_colors_of_their_own() -> None:
    arms = [f"mechanism_{number}" for number in range(9)]
    drawn = svg.points([(arm, 0, [0.1, 0.2]) for arm in arms], [0, 1], "m")
    assert re.findall(r">(mechanism_\d)</text>", drawn) == arms
    colors = series_of_arms("mechanism_0", arms)
    assert len(set(colors.values())) == len(arms)
    style = (resources.files("lot_cli.page") / "page.css").read_text(encoding="utf-8")
    assert all(style.count(f"--s{number}:") == 3 and f".series-{number} " in style for number in range(SERIES))


def drawn_as(name: str, steps: list[float], values: list[float], place: int = 0) -> Line:
    """A curve without spread."""
    return Line(name, place, dash_of(place), steps, values)


def test_a_curve_is_drawn_where_its_numbers_are() -> None:
    drawn = curves([drawn_as("a", [0, 100], [0.0, 1.0])], "m", (0.0, 1.0))
    (line,) = re.findall(r'<polyline[^>]*points="([^"]*)"', drawn)
    assert (
        line
        == f"{figures.LEFT}.0,{figures.HEIGHT - figures.BOTTOM}.0 {figures.WIDTH - figures.RIGHT}.0,{figures.TOP}.0"
    )


def test_a_logarithmic_axis_has_equal_factors_at_equal_distances() -> None:
    drawn = curves([drawn_as("a", [0, 1, 2], [1.0, 10.0, 100.0])], "m", log=True)
    (line,) = re.findall(r'<polyline[^>]*points="([^"]*)"', drawn)
    first, second, third = (float(point.split(",")[1]) for point in line.split())
    assert second - first == pytest.approx(third - second, abs=0.15)
    assert [">1<" in drawn, ">10<" in drawn, ">100<" in drawn] == [True, True, True]


def test_curves_that_coincide_are_named_and_have_other_patterns() -> None:
    steps = [0.0, 1.0, 2.0]
    lines = [
        drawn_as("a", steps, [0.0, 0.5, 1.0]),
        drawn_as("b", steps, [0.0, 0.5, 1.0], 1),
        drawn_as("c", steps, [0.0, 0.6, 1.0], 2),
        drawn_as("d", [0.0, 1.0], [0.0, 0.5], 3),
    ]
    assert coinciding(lines) == [["a", "b"]]
    assert figures.coinciding_words(lines) == "; a and b coincide"
    assert figures.coinciding_words(lines[1:]) == ""
    patterns = re.findall(r"<polyline[^>]*(dash-\d)", curves(lines, "m"))
    assert patterns == ["dash-0", "dash-1", "dash-2", "dash-3"]


def test_one_curve_alone_has_no_gaps() -> None:
    assert [dash_of(place) for place in range(10)] == [0, 1, 2, 3, 4, 1, 2, 3, 4, 1]
    style = (resources.files("lot_cli.page") / "page.css").read_text(encoding="utf-8")
    assert all((f".dash-{number} " in style) == (number > 0) for number in range(DASHES + 1) if number < DASHES)


def test_a_long_curve_keeps_its_peaks() -> None:
    values = [0.0] * 100_000
    values[51_234] = 1.0
    values[77_777] = -1.0
    x, y = thinned(range(len(values)), values)
    assert len(x) <= figures.MOST
    assert (x[y.index(1.0)], x[y.index(-1.0)]) == (51_234, 77_777)
    assert list(x) == sorted(x)


def test_nothing_to_draw_is_no_figure() -> None:
    assert curves([drawn_as("a", [], [])], "m") == ""
    assert svg.lines([("a", 0, curve([], "m")), ("b", 1, None)]) == []
    assert svg.points([("a", 0, [None, None])], [0, 1], "m") == ""


def test_equal_values_still_make_a_figure() -> None:
    assert "nan" not in svg.points([("a", 0, [0.0, 0.0]), ("b", 1, [0.0, 0.0])], [0, 1], "m")
    assert "nan" not in curves([drawn_as("a", [5.0], [1.0])], "m")
    assert curves([drawn_as("a", [5.0], [1.0])], "m").count("<circle") == 1  # a line of one point does not show


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-0.03, 0.041), (17, 23456), (1e-9, 3e-9), (-5, -4.9)])
def test_ticks_are_few_round_and_inside(low: float, high: float) -> None:
    found = ticks(low, high)
    assert 2 <= len(found) <= 7
    assert low - 1e-6 * (high - low) <= found[0]
    assert found[-1] <= high + 1e-6 * (high - low)
    assert all(len(f"{tick:.3g}") <= 8 for tick in found)
