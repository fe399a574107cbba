"""Plain data to configuration classes: strict, with a path in every error."""

from __future__ import annotations

from typing import Any, Literal

import attrs
import pytest

from lot.errors import BadInput
from lot.options.declare import option
from lot.options.validate import structure, unstructure


@attrs.frozen(kw_only=True)
class Inner:
    size: int = option(1, help="size", ge=1)


@attrs.frozen(kw_only=True)
class Example:
    count: int = option(3, help="count", ge=1)
    rate: float = option(0.5, help="rate", ge=0, lt=1)
    kind: Literal["scan", "relax"] = option("scan", help="kind")
    shape: tuple[int, ...] | None = option(None, help="shape", ge=1)
    pair: tuple[float, float] = option((0.9, 1.1), help="pair")
    flag: bool = option(True, help="flag")
    table: dict[str, Any] = option({}, help="table")
    inner: Inner | None = option(None, help="inner")
    needed: str = option(help="needed")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"count": 2.5}, "x.count: expected int, got 2.5"),
        ({"count": True}, "x.count: expected int, got True"),
        ({"count": "3"}, "x.count: expected int, got '3'"),
        ({"count": 0}, "x.count: expected a number >= 1, got 0"),
        ({"rate": 1}, "x.rate: expected a number >= 0 and < 1, got 1.0"),
        ({"rate": float("nan")}, "x.rate: expected a finite number, got nan"),
        ({"rate": "fast"}, "x.rate: expected float, got 'fast'"),
        ({"kind": "scam"}, "x.kind: expected 'scan' or 'relax' (did you mean 'scan'?), got 'scam'"),
        ({"kind": 1}, "x.kind: expected 'scan' or 'relax', got 1"),
        ({"shape": [2, 0]}, "x.shape: expected a number >= 1, got (2, 0)"),
        ({"shape": [2, "x"]}, "x.shape: expected list of int or null, got [2, 'x']"),
        ({"pair": [1.0]}, "x.pair: expected list of 2 float, got [1.0]"),
        ({"flag": "false"}, "x.flag: expected bool, got 'false'"),
        ({"flag": 0}, "x.flag: expected bool, got 0"),
        ({"table": 3}, "x.table: expected table, got 3"),
        ({"inner": {"size": 0}}, "x.inner.size: expected a number >= 1, got 0"),
        ({"inner": {"sze": 2}}, "x.inner.sze: unknown option; did you mean 'size'?"),
        ({"coutn": 3}, "x.coutn: unknown option; did you mean 'count'?"),
    ],
)
def test_each_mistake_has_one_line(given: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput) as caught:
        structure(Example, {"needed": "yes", **given}, "x")
    assert str(caught.value) == message


def test_what_is_missing_is_named() -> None:
    with pytest.raises(BadInput, match=r"x\.needed: required, but not given"):
        structure(Example, {}, "x")


def test_a_table_is_expected() -> None:
    with pytest.raises(BadInput, match=r"x: expected a table of options, got \[1\]"):
        structure(Example, [1], "x")


def test_many_mistakes_are_told_in_three_lines() -> None:
    with pytest.raises(BadInput) as caught:
        structure(Example, {"count": "a", "rate": "b", "kind": "c", "flag": 2, "needed": "y"}, "x")
    lines = str(caught.value).splitlines()
    assert lines == ["x.count: expected int, got 'a'", "x.rate: expected float, got 'b'", "and 2 more"]


def test_round_trip() -> None:
    made = structure(
        Example, {"needed": "y", "shape": [2, 4], "rate": 0, "inner": {"size": 5}, "table": {"a": [1]}}, "x"
    )
    assert made.shape == (2, 4)
    assert isinstance(made.rate, float)
    assert structure(Example, unstructure(made), "x") == made


def test_defaults_are_not_shared() -> None:
    first, second = structure(Example, {"needed": "y"}, "x"), structure(Example, {"needed": "y"}, "x")
    first.table["changed"] = 1
    assert second.table == {}


@attrs.frozen(kw_only=True)
class Leaf:
    weight: float = option(1.0, ge=0, help="a weight")


@attrs.frozen(kw_only=True)
class Tree:
    one: Leaf | None = option(None, help="a nested table")
    many: tuple[Leaf, ...] = option((), help="tables in a list")
    named: dict[str, Leaf] = option({}, help="tables by name")


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({"one": "linear"}, "x.one: expected table or null, got 'linear'"),
        ({"many": [{}, 3]}, "x.many.1: expected a table, got 3"),
        ({"many": [{}, {"weight": -1}]}, "x.many.1.weight: expected a number >= 0, got -1.0"),
        ({"named": {"a": 3}}, "x.named.a: expected a table, got 3"),
        ({"named": {"a": {"wight": 3}}}, "x.named.a.wight: unknown option; did you mean 'weight'?"),
    ],
    ids=str,
)
def test_nested_tables_are_refused_by_their_path(data: dict[str, object], told: str) -> None:
    with pytest.raises(BadInput) as error:
        structure(Tree, data, "x")
    assert str(error.value) == told
