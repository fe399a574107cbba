"""The configuration of a run in words: all of it, or what is not as it is by default. Imports no torch."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

import attrs

from lot.config.compare import leaves
from lot.errors import LotError
from lot_cli.recorded.facts import RunFacts, at, reads_elsewhere, table


def settings(facts: RunFacts) -> Iterator[tuple[str, str]]:
    """The configuration, a row for each section: its options and their values."""
    for section, value in facts.tree.items():
        yield str(section), options(leaves(value)) if isinstance(value, dict) else shown(value)


def chosen(facts: RunFacts) -> list[tuple[str, str]] | None:
    """The same, without the options that are as they are by default; None where the defaults are not known here."""
    from lot.config.load import load_config
    from lot.config.schema import MANY
    from lot.runs.kept_model import read_model

    try:
        if reads_elsewhere(facts.path, facts.tree):
            return None
        usual = dict(leaves(load_config(_least(facts.tree), kept=read_model(facts.path)).to_dict()))
    except LotError:  # of a component that is not installed, or of another version
        return None
    others: dict[str, list[tuple[str, Any]]] = {
        section: [("", name) for name, options in table(value).items() if options is not None]
        for section, value in facts.tree.items()
        if section in MANY
    }
    for path, value in leaves(facts.tree):
        section, _, option = path.partition(".")
        if (
            option.rpartition(".")[2] == "name"
            or path not in usual
            or usual[path] != value
            or option in _required(facts.tree, section)
        ):
            others.setdefault(section, []).append((option, value))
    return [(str(section), options(others[section])) for section in facts.tree if others.get(section)]


def _least(tree: dict[str, Any]) -> dict[str, Any]:
    """A configuration of the same components with their options as they are by default, and those that have no default."""
    from lot.config.schema import MANY

    found: dict[str, Any] = {}
    for section, value in tree.items():
        if section in MANY:
            found[section] = {name: None if options is None else {} for name, options in table(value).items()}
        elif isinstance(value, dict) and "name" in value:
            layers = {layer: {"name": at(own, "name")} for layer, own in table(value.get("layers")).items()}
            own = {option: value[option] for option in _required(tree, section) if option in value}
            found[section] = {"name": value["name"], **own, **({"layers": layers} if layers else {})}
    return found


def _required(tree: dict[str, Any], section: str) -> list[str]:
    """The options of the component of a section that have no default."""
    from lot.config.schema import SINGLE
    from lot.plugins.registry import registry

    name = at(tree, section, "name")
    if section not in SINGLE or not isinstance(name, str):
        return []
    fields = attrs.fields(registry().get(SINGLE[section], name).config_class)
    return [field.name for field in fields if field.default is attrs.NOTHING]


def options(found: Iterable[tuple[str, Any]]) -> str:
    return ", ".join(f"{path} = {shown(value)}" if path else shown(value) for path, value in found)


def shown(value: Any) -> str:
    """A value as YAML has it."""
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)
