"""The torus: its distance is a metric, and a window sees what it should."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings, strategies as st

from lot import BadInput
from lot_toroidal.ops.torus import Torus, circular_distance, toroidal_distance


@st.composite
def places(draw: st.DrawFn, count: int) -> tuple[int, int, list[tuple[torch.Tensor, torch.Tensor]]]:
    """A torus and `count` places (position, platter) on it."""
    period, depth = draw(st.integers(1, 2000)), draw(st.integers(1, 16))
    point = st.tuples(st.integers(0, period - 1), st.integers(0, depth - 1))
    points = [draw(point) for _ in range(count)]
    return period, depth, [(torch.tensor(i), torch.tensor(k)) for i, k in points]


@settings(max_examples=200, deadline=None)
@given(places(3))
def test_distance_is_a_metric(drawn: tuple[int, int, list[tuple[torch.Tensor, torch.Tensor]]]) -> None:
    period, depth, (a, b, c) = drawn

    def delta(x: tuple[torch.Tensor, torch.Tensor], y: tuple[torch.Tensor, torch.Tensor]) -> float:
        return float(toroidal_distance(*x, *y, period, depth))

    assert delta(a, b) == delta(b, a)
    assert delta(a, a) == 0
    assert (delta(a, b) == 0) == (a == b)
    assert delta(a, c) <= delta(a, b) + delta(b, c) + 1e-12


def test_distance_wraps_around() -> None:
    zero, last, platter = torch.tensor(0), torch.tensor(99), torch.tensor(0)
    assert float(toroidal_distance(zero, platter, last, platter, 100, 4)) == pytest.approx(1 / 100)
    assert float(toroidal_distance(zero, platter, last, platter + 3, 100, 4)) == pytest.approx(1 / 100 + 3 / 4)
    assert circular_distance(torch.tensor([0, 1, 50, 51, 99, -99]), 100).tolist() == [0, 1, 50, 49, 1, 1]


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize(("period", "window"), [(16, 0), (16, 1), (16, 3), (16, 7), (15, 7), (40, 5)])
def test_window_sees_exactly_its_circular_distance(period: int, window: int, causal: bool) -> None:
    torus = Torus(period, 1, window=window, causal=causal)
    T = min(period, 24)
    for i, j in itertools.product(range(T), range(T)):
        near = min(abs(i - j), period - abs(i - j)) <= window
        expected = near and (j <= i or not causal)
        assert bool(torus.visible(torch.tensor(j - i))) == expected


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("window", [None, 0, 3, 7])
def test_key_ranges_are_the_smallest_that_hold_all_visible_keys(causal: bool, window: int | None) -> None:
    period = 17
    torus = Torus(period, 1, window=window, causal=causal)
    for keys, first in itertools.product((5, 12, 17), range(17)):
        for last in range(first, keys):
            ranges = torus.key_ranges(first, last, keys)
            inside = {j for start, stop in ranges for j in range(start, stop)}
            seen = {j for i in range(first, last + 1) for j in range(keys) if bool(torus.visible(torch.tensor(j - i)))}
            assert inside == seen
            assert sum(stop - start for start, stop in ranges) == len(inside)


def test_bias_is_minus_lambda_times_the_distance_where_visible() -> None:
    torus = Torus(20, 3, strength=0.7, window=6, causal=True)
    table = torus.bias(-9, 4, torch.device("cpu"), torch.float64)
    for k, lag, l in itertools.product(range(3), range(-9, 5), range(3)):  # noqa: E741
        expected = -0.7 * (min(abs(lag), 20 - abs(lag)) / 20 + abs(k - l) / 3)
        if lag > 0 or abs(lag) > 6:
            expected = -torch.inf
        assert float(table[k, lag + 9, l]) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("period", "window"), [(16, 8), (15, 8), (1, 1)])
def test_a_window_that_would_meet_itself_is_refused(period: int, window: int) -> None:
    with pytest.raises(BadInput, match=r"window: expected at most \(period - 1\) / 2") as caught:
        Torus(period, 1, window=window)
    assert "\n" not in str(caught.value)
