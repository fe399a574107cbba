"""Figures as SVG: they hold what they say, in colors that the style sheet defines."""

from __future__ import annotations

import re
from importlib import resources

import pytest

from lot_cli.study.analysis.scores import curve
from lot_cli.study.report import svg
from lot_cli.study.report.html import SERIES, series_of_arms
from lot_cli.study.result import Curve


def test_many_arms_have_names_and_colors_of_their_own() -> None:
    arms = [f"mechanism_{number}" for number in range(9)]
    drawn = svg.points([(arm, 0, [0.1, 0.2]) for arm in arms], [0, 1], "m")
    assert re.findall(r">(mechanism_\d)</text>", drawn) == arms
    colors = series_of_arms("mechanism_0", arms)
    assert len(set(colors.values())) == len(arms)
    style = (resources.files("lot_cli.study.report") / "report.css").read_text(encoding="utf-8")
    assert all(style.count(f"--s{number}:") == 3 and f".series-{number} " in style for number in range(SERIES))


def drawn_as(steps: list[float], values: list[float]) -> Curve:
    """A curve without spread."""
    return Curve(steps=steps, mean=values, low=values, high=values)


def test_a_curve_is_drawn_where_its_numbers_are() -> None:
    drawn = svg.curves([("a", 0, drawn_as([0, 100], [0.0, 1.0]))], "m", (0.0, 1.0))
    (line,) = re.findall(r'<polyline[^>]*points="([^"]*)"', drawn)
    assert line == f"{svg.LEFT}.0,{svg.HEIGHT - svg.BOTTOM}.0 {svg.WIDTH - svg.RIGHT}.0,{svg.TOP}.0"


def test_nothing_to_draw_is_no_figure() -> None:
    assert svg.curves([("a", 0, drawn_as([], []))], "m") == ""
    assert svg.points([("a", 0, [None, None])], [0, 1], "m") == ""
    assert curve([], "m").steps == []


def test_equal_values_still_make_a_figure() -> None:
    assert "nan" not in svg.points([("a", 0, [0.0, 0.0]), ("b", 1, [0.0, 0.0])], [0, 1], "m")
    assert "nan" not in svg.curves([("a", 0, drawn_as([5.0], [1.0]))], "m")


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-0.03, 0.041), (17, 23456), (1e-9, 3e-9), (-5, -4.9)])
def test_ticks_are_few_round_and_inside(low: float, high: float) -> None:
    found = svg.ticks(low, high)
    assert 2 <= len(found) <= 7
    assert low - 1e-6 * (high - low) <= found[0]
    assert found[-1] <= high + 1e-6 * (high - low)
    assert all(len(f"{tick:.3g}") <= 8 for tick in found)
