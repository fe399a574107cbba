"""The options of a class as a JSON Schema, so that an editor knows each one's type, bounds, default and help line."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

Schema = dict[str, Any]

_INT_MIN, _INT_END = -(2**63), 2**63  # `option` refuses an int that takes more than 63 bits
_BOUNDS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}


def closed_object(properties: Mapping[str, Schema], required: Sequence[str] = ()) -> Schema:
    """A table that holds these keys and no others."""
    needed = {"required": list(required)} if required else {}
    return {"type": "object", "properties": dict(properties), **needed, "additionalProperties": False}


def fields_of(config: type) -> tuple[dict[str, Schema], list[str]]:
    """The schema of each field of the attrs class `config`, and the names of those without a default."""
    hints = typing.get_type_hints(config)
    properties, required = {}, []
    for field in attrs.fields(config):
        schema = _bounded(_typed(hints[field.name]), field.metadata.get("bounds", {}))
        default = field.default.factory() if isinstance(field.default, attrs.Factory) else field.default  # type: ignore[arg-type]
        if default is attrs.NOTHING:
            required.append(field.name)
        else:
            schema["default"] = _as_json(default)
        properties[field.name] = {"description": field.metadata.get("help", ""), **schema}
    return properties, required


def _typed(hint: Any) -> Schema:
    """The values that an option of this type takes, as `lot.options.validate` reads them."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return {}
    if origin is typing.Literal:
        return {"enum": list(args)}
    if origin in (typing.Union, types.UnionType):
        return _either([_typed(arg) for arg in args])
    if origin is tuple and Ellipsis not in args:
        parts = [_typed(arg) for arg in args]
        same = all(part == parts[0] for part in parts)
        items: Schema = {"items": parts[0]} if same else {"prefixItems": parts}
        return {"type": "array", **items, "minItems": len(args), "maxItems": len(args)}
    if origin in (list, tuple):
        return {"type": "array", "items": _typed(args[0])}
    if hint is dict or origin is dict:
        return {"type": "object", "additionalProperties": _typed(args[1])} if args else {"type": "object"}
    if attrs.has(hint):
        return closed_object(*fields_of(hint))
    name = {bool: "boolean", int: "integer", float: "number", str: "string", type(None): "null"}[hint]
    return {"type": name}


def _either(parts: list[Schema]) -> Schema:
    """One schema for values that fit any of `parts`: `float or null` is one type of two names, which editors show best."""
    enums = [part for part in parts if set(part) == {"enum"}]
    if len(enums) == 1 and {"type": "null"} in parts and len(parts) == 2:
        return {"enum": [*enums[0]["enum"], None]}
    if all(set(part) == {"type"} for part in parts):
        return {"type": [part["type"] for part in parts]}
    return {"anyOf": parts}


def _bounded(schema: Schema, bounds: Mapping[str, float], *, nested: bool = True) -> Schema:
    """`schema` with the bounds of its option, which hold for a number and for each number of a list."""
    if "anyOf" in schema:
        return {"anyOf": [_bounded(part, bounds) for part in schema["anyOf"]]}
    kinds = schema.get("type", [])
    if nested and kinds == "array":
        parts = [_bounded(part, bounds, nested=False) for part in schema.get("prefixItems", [])]
        items = {"items": _bounded(schema["items"], bounds, nested=False)} if "items" in schema else {}
        return {**schema, **({"prefixItems": parts} if parts else {}), **items}
    limits = {_BOUNDS[key]: bound for key, bound in bounds.items()}
    if "integer" in kinds and "number" not in kinds:
        low = {} if {"minimum", "exclusiveMinimum"} & set(limits) else {"minimum": _INT_MIN}
        high = {} if {"maximum", "exclusiveMaximum"} & set(limits) else {"exclusiveMaximum": _INT_END}
        return {**schema, **limits, **low, **high}
    return {**schema, **limits} if "number" in kinds else schema


def _as_json(value: Any) -> Any:
    if attrs.has(type(value)):
        return _as_json(attrs.asdict(value))
    if isinstance(value, Mapping):
        return {key: _as_json(item) for key, item in value.items()}
    return [_as_json(item) for item in value] if isinstance(value, (list, tuple)) else value
