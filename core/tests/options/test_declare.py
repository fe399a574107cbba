"""Options: bounds that hold at every build, and descriptions that need no build."""

from __future__ import annotations

import math
from typing import Any, Literal

import attrs
import pytest
from hypothesis import given, strategies as st

from lot.errors import BadInput
from lot.options.declare import (
    RESERVED,
    RESERVED_BY_LAYER,
    NoOptions,
    OptionInfo,
    describe,
    describe_bounds,
    option,
    type_name,
)


@attrs.frozen(kw_only=True)
class Example:
    rate: float = option(0.5, ge=0, lt=1, help="share of something")
    size: int = option(2, gt=0, le=8, help="how many")
    shape: tuple[int, ...] | None = option(None, ge=1, help="sizes")
    kind: Literal["scan", "relax"] = option("scan", help="which")
    names: list[str] = option(["a", "b"], help="texts")
    even: int = option(4, help="an even number", check=lambda value: "an even number" if value % 2 else None)
    flag: bool = option(False, ge=5, help="bounds say nothing about a bool")
    path: str = option(help="must be given")


def make(**values: Any) -> Example:
    return Example(**{"path": "x", **values})


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_a_number_passes_exactly_when_it_is_within_bounds(value):
    if math.isfinite(value) and 0 <= value < 1:
        assert make(rate=value).rate == value
    else:
        with pytest.raises(BadInput) as error:
            make(rate=value)
        expected = "a number >= 0 and < 1" if math.isfinite(value) else "a finite number"
        assert str(error.value) == f"rate: expected {expected}, got {value!r}"


@pytest.mark.parametrize(
    ("name", "good", "bad"), [("size", 8, 9), ("size", 1, 0), ("rate", 0, -0.1), ("rate", 0.99, 1)]
)
def test_open_and_closed_ends_are_what_they_say(name, good, bad):
    assert getattr(make(**{name: good}), name) == good
    with pytest.raises(BadInput, match=f"{name}: expected a number"):
        make(**{name: bad})


def test_bounds_hold_for_each_number_of_a_sequence():
    assert make(shape=(1, 2, 3)).shape == (1, 2, 3)
    assert make(shape=()).shape == ()
    with pytest.raises(BadInput, match=r"shape: expected a number >= 1, got \(2, 0\)"):
        make(shape=(2, 0))
    with pytest.raises(BadInput, match="a finite number"):
        make(shape=(2, math.inf))


def test_no_value_and_truth_values_pass_bounds():
    assert make(shape=None).shape is None
    assert make(flag=True).flag is True


def test_a_check_says_what_it_expected():
    with pytest.raises(BadInput, match="even: expected an even number, got 3"):
        make(even=3)


def test_bounds_of_a_default_are_checked_too():
    @attrs.frozen(kw_only=True)
    class Wrong:
        size: int = option(0, ge=1, help="how many")

    with pytest.raises(BadInput, match="size"):
        Wrong()


def test_default_lists_are_not_shared():
    first, second = make(), make()
    first.names.append("c")
    assert second.names == ["a", "b"]


def test_a_description_holds_everything_that_a_person_needs():
    told = {info.name: info for info in describe(Example)}
    assert list(told) == ["rate", "size", "shape", "kind", "names", "even", "flag", "path"]
    assert told["rate"] == OptionInfo(
        name="rate", type="float", default=0.5, bounds=">= 0 and < 1", help="share of something", required=False
    )
    assert (told["shape"].type, told["shape"].default) == ("list of int or null", None)
    assert told["kind"].type == "'scan' or 'relax'"
    assert told["names"].default == ["a", "b"]
    assert (told["path"].required, told["path"].default) == (True, None)
    assert describe(NoOptions) == []


@pytest.mark.parametrize(
    ("hint", "told"),
    [
        (int, "int"),
        (bool | None, "bool or null"),
        (tuple[float, float], "list of 2 float"),
        (tuple[int, ...], "list of int"),
        (list[str], "list of str"),
        (dict[str, int], "table"),
        (dict, "table"),
        (Literal["a", 2], "'a' or 2"),
        (list[tuple[int, ...] | None], "list of list of int or null"),
    ],
)
def test_types_are_told_as_people_write_them(hint, told):
    assert type_name(hint) == told


def test_bounds_are_told_in_words():
    assert describe_bounds({}) == ""
    assert describe_bounds({"gt": 0.0, "le": 1e-5}) == "> 0 and <= 1e-05"


def test_the_keys_of_the_framework_are_reserved():
    assert sorted(RESERVED) == ["every", "name", "schedule", "weight"]
    assert sorted(RESERVED_BY_LAYER) == ["layers"]
