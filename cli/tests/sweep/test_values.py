"""Values of a sweep: how a text is parted, ranges, and draws that depend on nothing but seed and number."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lot.config.yaml import parse_yaml
from lot.errors import BadInput
from lot_cli.sweep.values import drawn, is_distribution, is_range, listed, values_in_text


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("1e-3,3e-3", [0.001, 0.003]),
        ("0, 0.5 ,1", [0, 0.5, 1]),
        ("head,token", ["head", "token"]),
        ("null,true", [None, True]),
        ("[1,2]", [[1, 2]]),
        ("[1,2],[2, [3, 4]]", [[1, 2], [2, [3, 4]]]),
        ("{a: 1, b: [2,3]},{}", [{"a": 1, "b": [2, 3]}, {}]),
        ("'a, b',c", ["a, b", "c"]),
        ("'it''s, x',y", ["it's, x", "y"]),
        (r'"a\",b",c', ['a",b', "c"]),
        ("['a]', b],c", [["a]", "b"], "c"]),
        ("don't,won't", ["don't", "won't"]),
        ("data[1].txt,b", ["data[1].txt", "b"]),
    ],
)
def test_commas_part_values_but_for_those_in_quotes_and_brackets(text: str, values: list[Any]) -> None:
    assert values_in_text("x", text) == values


@pytest.mark.parametrize("text", ["3e-4", "[2, 4]", "null", "'a, b'", "{a: 1}", "plain text"])
def test_one_value_is_read_as_a_run_reads_it(text: str) -> None:
    assert values_in_text("x", text) == [parse_yaml(text, "x")]


@pytest.mark.parametrize(
    "text", ["", "1,", "1,,2", "0,linspace(0,1,2)", "uniform(0,1),3", "loguniform(1,2)", "f(x)", "[1,2", "'a,b"]
)
def test_what_is_no_value_is_refused_by_its_path(text: str) -> None:
    with pytest.raises(BadInput, match=r"--set optim\.lr"):
        values_in_text("optim.lr", text)


@pytest.mark.parametrize("count", [2, 3, 7])
def test_ranges_are_those_of_numpy(count: int) -> None:
    assert listed({"linspace": [0, 1, count]}, "x") == pytest.approx(np.linspace(0, 1, count), rel=1e-3)
    assert listed({"geomspace": [1e-4, 1e-2, count]}, "x") == pytest.approx(np.geomspace(1e-4, 1e-2, count), rel=1e-3)


def test_a_range_of_whole_numbers_holds_whole_numbers() -> None:
    values = listed(values_in_text("model.layers", "linspace(1, 4, 4)"), "x")
    assert values == [1, 2, 3, 4]
    assert all(type(value) is int for value in values)
    assert listed({"geomspace": [16, 128, 4]}, "x") == [16, 32, 64, 128]


@pytest.mark.parametrize(
    "given",
    [
        [],
        "text",
        {},
        {"linspace": [0, 1]},
        {"linspace": [1, 0, 3]},
        {"linspace": [0, 1, 1]},
        {"linspace": [0, 1, 2.5]},
        {"linspace": [0, 1, 10**6]},
        {"geomspace": [0, 1, 3]},
        {"geomspace": [1, float("inf"), 3]},
        {"linspace": [False, True, 2]},
        {"linspace": [0, 1, 2], "geomspace": [1, 2, 2]},
        {"logspace": [0, 1, 2]},
        [1, 1],
        [[1], [1]],
    ],
)
def test_what_lists_no_values_is_refused(given: Any) -> None:
    with pytest.raises(BadInput, match=r"^grid\.x: expected"):
        listed(given, "grid.x")


@pytest.mark.parametrize(
    "given",
    [
        {"uniform": [1, 0]},
        {"uniform": [0]},
        {"uniform": "text"},
        {"log_uniform": [0, 1]},
        {"choice": []},
        {"normal": [0, 1]},
        {},
        3,
    ],
)
def test_what_is_no_distribution_is_refused(given: Any) -> None:
    with pytest.raises(BadInput, match=r"^random\.x: expected"):
        drawn(given, "random.x")


def test_a_uniform_draw_has_its_mean_its_range_and_its_variance() -> None:
    draw = drawn({"uniform": [-1, 3]}, "random.a")
    values = np.array([draw(0, number) for number in range(4000)])
    assert values.min() >= -1
    assert values.max() <= 3
    assert values.mean() == pytest.approx(1, abs=0.08)
    assert values.var() == pytest.approx(16 / 12, rel=0.08)


def test_the_logarithm_of_a_log_uniform_draw_is_uniform() -> None:
    draw = drawn({"log_uniform": [1e-4, 1e-2]}, "random.a")
    values = np.log10([draw(0, number) for number in range(4000)])
    assert values.min() >= -4
    assert values.max() <= -2
    assert np.histogram(values, bins=4, range=(-4, -2))[0] == pytest.approx(1000, rel=0.15)


@pytest.mark.parametrize("given", [{"choice": ["a", "b", "c"]}, ["a", "b", "c"]])
def test_a_choice_takes_each_value_alike(given: Any) -> None:
    draw = drawn(given, "random.a")
    values = [draw(0, number) for number in range(3000)]
    assert [values.count(value) for value in "abc"] == pytest.approx([1000] * 3, rel=0.15)


def test_a_draw_depends_on_seed_number_and_path_alone() -> None:
    draw, again, other = (drawn({"uniform": [0, 1]}, f"random.{path}") for path in ("a", "a", "b"))
    first = [draw(0, number) for number in range(5)]
    assert first == [again(0, number) for number in range(5)]
    assert first != [draw(1, number) for number in range(5)]
    assert first != [other(0, number) for number in range(5)]
    assert len(set(first)) == 5


def test_a_distribution_and_a_range_are_told_from_options_that_are_tables() -> None:
    assert is_distribution({"uniform": [0, 1]})
    assert is_range({"linspace": [0, 1, 2]})
    for other in ({"uniform": 1, "b": 2}, {"a": 1}, {}, [1]):
        assert not is_distribution(other)
        assert not is_range(other)


@pytest.mark.parametrize("text", ["2026-01-01,2026-01-02", "{1: 2, a: 3},{b: 1}"])
def test_what_no_option_can_be_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match=r"grid\.optim\.lr: expected numbers, words"):
        listed(values_in_text("optim.lr", text), "grid.optim.lr")


def test_a_range_holds_its_very_ends_and_draws_stay_within_theirs() -> None:
    assert listed({"linspace": [0.00123456, 0.00654321, 2]}, "x") == [0.00123456, 0.00654321]
    assert listed({"geomspace": [1, 1000, 4]}, "x") == [1, 10, 100, 1000]
    draw = drawn({"uniform": [0.99991, 0.99999]}, "x")
    assert all(0.99991 <= draw(0, number) <= 0.99999 for number in range(50))
