"""Learning rates and loss weights over training."""

from __future__ import annotations

import math
from typing import Any

import pytest

from lot.config.schedule import WeightSchedule, highest_rate, learning_rate_factor, warmup_steps
from lot.errors import BadInput


def test_warmup_reaches_the_peak_and_cosine_falls_to_the_floor() -> None:
    factors = [learning_rate_factor(step, 100, 10, "cosine", 0.1) for step in range(101)]
    assert factors[0] == pytest.approx(0.1)
    assert factors[9] == factors[10] == 1.0
    assert factors[55] == pytest.approx(0.1 + 0.9 * 0.5)
    assert factors[100] == pytest.approx(0.1)
    assert all(a >= b for a, b in zip(factors[10:], factors[11:], strict=False))


def test_linear_and_constant() -> None:
    assert learning_rate_factor(50, 100, 0, "linear", 0.0) == pytest.approx(0.5)
    assert learning_rate_factor(99, 100, 0, "constant", 0.0) == 1.0
    assert learning_rate_factor(500, 100, 0, "cosine", 0.2) == pytest.approx(0.2), "past the end it stays at the floor"


@pytest.mark.parametrize(("steps", "warmup"), [(0, 0), (7, 0), (20, 2), (100, 12), (399, 49), (400, 50), (10**6, 50)])
def test_warmup_is_an_eighth_of_the_run_and_50_steps_at_most(steps: int, warmup: int) -> None:
    assert warmup_steps(None, steps) == warmup
    factors = [learning_rate_factor(step, steps, None, "cosine", 0.1) for step in range(min(steps, 100))]
    assert factors == [learning_rate_factor(step, steps, warmup, "cosine", 0.1) for step in range(min(steps, 100))]
    assert highest_rate(None, steps) == 1.0


def test_a_warmup_that_is_given_is_kept_and_may_end_below_the_peak() -> None:
    assert warmup_steps(30, 20) == 30
    assert highest_rate(50, 20) == 0.4 == max(learning_rate_factor(step, 20, 50, "cosine", 0.1) for step in range(20))
    assert highest_rate(20, 20) == 1.0


def test_weights_move_from_start_over_steps() -> None:
    linear = WeightSchedule(kind="linear", to=1.0, start=10, over=20)
    assert [linear.at(3.0, step) for step in (0, 10, 20, 30, 99)] == [3.0, 3.0, 2.0, 1.0, 1.0]
    cosine = WeightSchedule(kind="cosine", to=0.0, over=10)
    assert cosine.at(2.0, 5) == pytest.approx(1.0)
    assert cosine.at(2.0, 2) == pytest.approx(1.0 + math.cos(math.pi * 0.2))
    assert WeightSchedule().at(0.5, 1000) == 0.5


def test_a_moving_weight_needs_a_duration() -> None:
    with pytest.raises(BadInput, match="over: required"):
        WeightSchedule(kind="linear")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"to": 0.5}, "to: expected no value where the kind is constant, got 0.5; only linear and cosine read it"),
        (
            {"kind": "linear", "over": 3, "gain": 9.0},
            "gain: expected no value where the kind is linear, got 9.0; only adap",
        ),
        ({"kind": "adaptive", "start": 5}, "start: expected no value where the kind is adaptive"),
    ],
)
def test_an_option_that_the_kind_does_not_read_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        WeightSchedule(**options)
