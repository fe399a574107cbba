"""What `lot plugins check --set` gives a component: its options, and the model around it, so that a passport can be repeated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

from lot.config.schema import MANY, SINGLE
from lot.config.yaml import parse_yaml
from lot.errors import BadInput
from lot.plugins.component import Component

SECTIONS = {kind: section for section, kind in (SINGLE | MANY).items()}
"""Where a configuration chooses a component, by its kind."""
HAS_DIMS = ("attention", "embedding")
"""Kinds that are built for a model around them."""


@dataclass(frozen=True)
class Setting:
    """options: of the component. kit: what the kit is given beside them, as `run_checks` takes it."""

    options: dict[str, Any] = field(default_factory=dict)
    kit: dict[str, Any] = field(default_factory=dict)


def read_setting(component: Component, overrides: Sequence[str], device: str) -> Setting:
    """The setting that `--set` and `--device` describe. Raises BadInput for a path that the component does not have."""
    section = SECTIONS[component.kind]
    prefix = f"{section}.{component.name}." if section in MANY else f"{section}."
    options: dict[str, Any] = {}
    around: dict[str, Any] = {}
    for override in overrides:
        path, equals, text = override.partition("=")
        of_dims = component.kind in HAS_DIMS and path.startswith("dims.")
        table, name = (around, path.removeprefix("dims.")) if of_dims else (options, path.removeprefix(prefix))
        if not equals or not name or name == path:
            dims = " or dims.NAME=VALUE" if component.kind in HAS_DIMS else ""
            raise BadInput(where="--set", expected=f"{prefix}OPTION=VALUE{dims}", got=repr(override))
        table[name] = parse_yaml(text, f"--set {path}")
    if component.kind not in HAS_DIMS:
        if device != "cpu":
            raise BadInput(
                where="--device", expected=f"cpu, where the kit checks one of kind {component.kind}", got=repr(device)
            )
        return Setting(options)
    return Setting(options, {"dims": _dims(around), "device": device})


def _dims(around: dict[str, Any]) -> Any:
    """The kit's own dims with what is given. Raises BadInput for a name or a value that they cannot have."""
    from dataclasses import replace

    from lot.contracts import Positions
    from lot.testing import DIMS

    known = {name: value for name, value in vars(DIMS).items() if name != "token_counts"}
    for name, value in around.items():
        if name not in known:
            raise BadInput(where=f"--set dims.{name}", expected=f"one of {', '.join(known)}", got=repr(name))
        wanted = type(known[name])
        if type(value) is not wanted and not (wanted is float and type(value) is int):
            raise BadInput(where=f"--set dims.{name}", expected=f"a value like {known[name]!r}", got=repr(value))
        if name == "positions" and value not in get_args(Positions):
            raise BadInput(where="--set dims.positions", expected=" or ".join(get_args(Positions)), got=repr(value))
        if wanted is int and value < (0 if name == "layer" else 1):
            raise BadInput(where=f"--set dims.{name}", expected="a number that a model can have", got=value)
    layers = around.get("layers", DIMS.layers)
    layer = around.get("layer", min(DIMS.layer, layers - 1))
    if layer >= layers:
        raise BadInput(where="--set dims.layer", expected=f"from 0 to {layers - 1}, one of {layers} layers", got=layer)
    return replace(DIMS, **{**around, "layer": layer})
