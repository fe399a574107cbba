"""Options of a component: how they are declared, and how they are described without building anything."""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Callable
from typing import Any

import attrs

from lot.errors import BadInput

RESERVED = frozenset({"name", "weight", "schedule", "every"})
"""Keys of a component's table that belong to the framework; no component may name an option like that."""
RESERVED_BY_LAYER = frozenset({"layers"})
"""The same for components that may be others in single layers: attentions and MLPs."""


def option(
    default: Any = attrs.NOTHING,
    *,
    help: str,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
    check: Callable[[Any], str | None] | None = None,
) -> Any:
    """An `attrs` field with a help line and bounds that `lot show` prints and that every build enforces.

    Bounds hold for a number, and for each number of a sequence; `None` passes them. `check` returns what was
    expected when the value is wrong, else None. Closed sets of values are typed `Literal[...]` instead.
    A list or dict default is copied for each instance.
    """
    bounds = {key: value for key, value in (("ge", ge), ("gt", gt), ("le", le), ("lt", lt)) if value is not None}
    metadata = {"help": help, "bounds": bounds}

    def validate(_instance: Any, attribute: Any, value: Any) -> None:
        def refuse(expected: str) -> BadInput:
            return BadInput(where=attribute.name, expected=expected, got=repr(value))

        numbers = value if isinstance(value, (tuple, list)) else (value,)
        for number in numbers:
            if isinstance(number, bool) or not isinstance(number, (int, float)):
                continue
            if isinstance(number, float) and not math.isfinite(number):
                raise refuse("a finite number")
            if isinstance(number, int) and not -(2**63) <= number < 2**63:
                raise refuse("a number of at most 63 bits")
            inside = (
                (ge is None or number >= ge)
                and (gt is None or number > gt)
                and (le is None or number <= le)
                and (lt is None or number < lt)
            )
            if not inside:
                raise refuse(f"a number {describe_bounds(bounds)}")
        if check is not None and (expected := check(value)) is not None:
            raise refuse(expected)

    if isinstance(default, (list, dict)):
        return attrs.field(factory=lambda: type(default)(default), validator=validate, metadata=metadata)
    return attrs.field(default=default, validator=validate, metadata=metadata)


def other_defaults(**defaults: Any) -> Callable[[type, list[Any]], list[Any]]:
    """For `attrs.frozen(field_transformer=...)` of a subclass: its options, the inherited ones too, with these defaults."""

    def transform(_config: type, fields: list[Any]) -> list[Any]:
        return [field.evolve(default=defaults.get(field.name, field.default)) for field in fields]

    return transform


@attrs.frozen(kw_only=True)
class NoOptions:
    """The configuration of a component that has nothing to configure."""


@attrs.frozen(kw_only=True)
class OptionInfo:
    """One option as `lot show` prints it."""

    name: str
    type: str
    default: Any
    bounds: str
    help: str
    required: bool


def describe(config: type) -> list[OptionInfo]:
    """The options of the configuration class `config`, in the order of declaration, its own before inherited ones."""
    hints = typing.get_type_hints(config)
    found = []
    for field in sorted(attrs.fields(config), key=lambda field: field.inherited):
        default = field.default
        if isinstance(default, attrs.Factory):  # type: ignore[arg-type]
            default = default.factory()
        required = default is attrs.NOTHING
        found.append(
            OptionInfo(
                name=field.name,
                type=type_name(hints[field.name]),
                default=None if required else default,
                bounds=describe_bounds(field.metadata.get("bounds", {})),
                help=field.metadata.get("help", ""),
                required=required,
            )
        )
    return found


def text_options(config: type) -> list[str]:
    """The options of `config` that hold a text of any content, such as the name of a file."""
    hints = typing.get_type_hints(config)
    return [
        field.name for field in attrs.fields(config) if str in (hints[field.name], *typing.get_args(hints[field.name]))
    ]


def describe_bounds(bounds: dict[str, float]) -> str:
    """Bounds in words: `>= 0 and < 1`."""
    signs = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
    return " and ".join(f"{signs[key]} {_number(value)}" for key, value in bounds.items())


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def type_name(hint: Any) -> str:
    """A type as people write it: `float`, `list of int`, `'scan' or 'relax'`."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is type(None):
        return "null"
    if origin is typing.Literal:
        return " or ".join(repr(arg) for arg in args)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(type_name(arg) for arg in args)
    if origin in (tuple, list):
        if origin is tuple and Ellipsis not in args:
            kinds = dict.fromkeys(type_name(arg) for arg in args)
            return f"list of {len(args)} {' and '.join(kinds)}"
        return f"list of {type_name(args[0])}"
    if hint is dict or origin is dict:
        return "table"
    return getattr(hint, "__name__", str(hint))
