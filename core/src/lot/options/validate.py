"""Plain data to validated configuration classes: strict, and every error names its path and the nearest right answer."""

from __future__ import annotations

import difflib
import functools
import types
import typing
from collections.abc import Mapping
from typing import Any

import attrs
import cattrs
import cattrs.gen
from cattrs.errors import ClassValidationError, ForbiddenExtraKeysError, IterableValidationError

from lot.errors import BadInput
from lot.options.declare import type_name


class _WrongType(ValueError):
    """A value of another type than its option has."""

    def __init__(self, expected: str, value: Any) -> None:
        super().__init__(f"expected {expected}")
        shown = repr(value)
        self.expected, self.got = expected, shown if len(shown) <= 60 else f"{shown[:57]}..."


class _Below(ValueError):
    """Something is wrong with an item of a table or list."""

    def __init__(self, place: Any, cause: Exception) -> None:
        super().__init__(str(cause))
        self.place, self.cause = place, cause


def structure(cls: type[Any], data: Any, path: str) -> Any:
    """An instance of the attrs class `cls` made from the mapping `data`. Raises BadInput with all errors, a line each.

    Nothing is converted that could hide a mistake: "false" is no bool, 3.7 is no int; an int serves as float.
    """
    if not isinstance(data, Mapping):
        raise BadInput(where=path, expected="a table of options", got=repr(data))
    try:
        return _converter().structure(data, cls)
    except Exception as error:
        lines = list(_explain(error, path))
        if not lines:
            raise
        raise _combine(lines) from None


def unstructure(config: Any) -> dict[str, Any]:
    """The attrs instance `config` as plain dicts, lists and scalars, in order of declaration."""
    return _plain(attrs.asdict(config, recurse=True))  # type: ignore[no-any-return]


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def unknown_key(path: str, key: Any, known: typing.Iterable[str]) -> BadInput:
    """The error for a key that is not an option: it names the nearest option, or all of them."""
    known = sorted(known)
    close = difflib.get_close_matches(str(key), known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else (f"known: {', '.join(known)}" if known else "it takes none")
    return BadInput(f"unknown option; {hint}", where=f"{path}.{key}" if path else str(key))


@functools.cache
def _converter() -> cattrs.Converter:
    """cattrs, with hooks that convert nothing which could hide a mistake."""
    converter = cattrs.Converter(forbid_extra_keys=True, detailed_validation=True)
    converter.register_structure_hook(bool, _exactly(bool))
    converter.register_structure_hook(int, _exactly(int))
    converter.register_structure_hook(float, _exactly(float, int))
    converter.register_structure_hook(str, _exactly(str))
    converter.register_structure_hook_factory(attrs.has, _table)
    converter.register_structure_hook(dict, _mapping)
    for hook, origins in (
        (_mapping, (dict,)),
        (_literal, (typing.Literal,)),
        (_union, (typing.Union, types.UnionType)),
        (_sequence, (tuple, list)),
    ):
        converter.register_structure_hook_func(_stems_from(*origins), hook)
    return converter


def _stems_from(*origins: Any) -> typing.Callable[[Any], bool]:
    """Whether a type is a special form of one of these, as `dict[str, int]` is of dict."""
    return lambda hint: typing.get_origin(hint) in origins


def _exactly(kind: type, *accepted: type) -> typing.Callable[[Any, Any], Any]:
    """A hook that takes values of `kind` (and of the `accepted` types) only; a bool is no number."""

    def hook(value: Any, _type: Any) -> Any:
        if (isinstance(value, bool) and kind is not bool) or not isinstance(value, (kind, *accepted)):
            raise _WrongType(type_name(kind), value)
        try:
            return kind(value)
        except OverflowError:  # an int that no float can hold
            raise _WrongType(type_name(kind), value) from None

    return hook


def _literal(value: Any, hint: Any) -> Any:
    choices = typing.get_args(hint)
    if not any(value == choice and type(value) is type(choice) for choice in choices):
        close = difflib.get_close_matches(str(value), [str(choice) for choice in choices], n=1)
        raise _WrongType(type_name(hint) + (f" (did you mean {close[0]!r}?)" if close else ""), value)
    return value


def _union(value: Any, hint: Any) -> Any:
    members = typing.get_args(hint)
    if value is None and type(None) in members:
        return None
    failures = []
    for member in (member for member in members if member is not type(None)):
        try:
            return _converter().structure(value, member)
        except Exception as error:
            failures.append(error)
    if len(failures) == 1 and not isinstance(failures[0], _WrongType):
        raise failures[0]
    # What a user writes is a table; the class that checks it is our affair.
    raise _WrongType(" or ".join("table" if attrs.has(member) else type_name(member) for member in members), value)


def _sequence(value: Any, hint: Any) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    fixed = origin is tuple and Ellipsis not in args
    if not isinstance(value, (list, tuple)) or (fixed and len(value) != len(args)):
        raise _WrongType(type_name(hint), value)
    kinds = args if fixed else (args[0],) * len(value)
    try:
        items = [_structured_at(place, item, kind) for place, (item, kind) in enumerate(zip(value, kinds, strict=True))]
    except _Below as error:
        if isinstance(error.cause, _WrongType) and not attrs.has(kinds[error.place]):
            raise _WrongType(type_name(hint), value) from error
        raise
    return tuple(items) if origin is tuple else items


def _mapping(value: Any, hint: Any) -> Any:
    if not isinstance(value, Mapping):
        raise _WrongType(type_name(hint), value)
    key_type, value_type = typing.get_args(hint) or (Any, Any)
    return {_converter().structure(key, key_type): _structured_at(key, item, value_type) for key, item in value.items()}


def _structured_at(place: Any, value: Any, hint: Any) -> Any:
    """The item of a table or list. Raises _Below, so that the path to what is wrong names the place."""
    try:
        return _converter().structure(value, hint)
    except Exception as error:
        raise _Below(place, error) from error


def _table(cls: type) -> typing.Callable[[Any, Any], Any]:
    """A hook for a nested attrs class, which takes a table and nothing else."""
    read: typing.Callable[[Any, Any], Any] = cattrs.gen.make_dict_structure_fn(
        cls, _converter(), _cattrs_forbid_extra_keys=True
    )

    def hook(value: Any, hint: Any) -> Any:
        if not isinstance(value, Mapping):
            raise _WrongType("a table", value)
        return read(value, hint)

    return hook


def _explain(error: BaseException, path: str) -> typing.Iterator[BadInput]:
    """Every leaf of cattrs' error tree as one BadInput with its path."""
    if isinstance(error, ClassValidationError):
        hints = typing.get_type_hints(error.cl)
        with_notes, without = error.group_exceptions()
        for leaf, note in with_notes:
            yield from _explain(leaf, f"{path}.{note.name}" if path else note.name)
        for leaf in without:
            if isinstance(leaf, ForbiddenExtraKeysError):
                yield from (unknown_key(path, key, hints) for key in sorted(map(str, leaf.extra_fields)))
            else:
                yield from _explain(leaf, path)
    elif isinstance(error, IterableValidationError):
        for leaf, place in error.group_exceptions()[0]:
            yield from _explain(leaf, f"{path}.{place.index}")
    elif isinstance(error, _Below):
        yield from _explain(error.cause, f"{path}.{error.place}")
    elif isinstance(error, _WrongType):
        yield BadInput(where=path, expected=error.expected, got=error.got)
    elif isinstance(error, BadInput):
        yield error.under(path) if path else error
    elif isinstance(error, KeyError):
        yield BadInput("required, but not given", where=path)
    elif isinstance(error, ValueError):
        yield BadInput(str(error), where=path)


def _combine(errors: list[BadInput]) -> BadInput:
    """One error of all: the first keeps its parts, the others follow as lines (three lines at most)."""
    if len(errors) == 1:
        return errors[0]
    lines = [str(error) for error in errors]
    if len(lines) > 3:
        lines = [*lines[:2], f"and {len(lines) - 2} more"]
    return BadInput("\n".join(lines))
