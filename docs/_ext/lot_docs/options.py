"""The reference of every option: of runs, study files and sweep files as a whole, and (for `components`) of each component."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import attrs

from lot.options.declare import OptionInfo
from lot_cli.reference import sections
from lot_docs.markdown import code, definitions, escaped, text

TABLES = {section.name: section for section in sections()}
"""Name of a table of options on the pages -> the section of a run file, a study file or a sweep file that it is."""


def rows(name: str) -> Sequence[OptionInfo]:
    """The options of one of `TABLES`. All pages take them from here."""
    return TABLES[name].options


def page(name: str) -> str:
    """The options of one of `TABLES` as a definition list."""
    return listing(rows(name), name)


def listing(found: Sequence[OptionInfo], prefix: str) -> str:
    """Options as a definition list, each with an anchor `PREFIX-OPTION`."""
    if not found:
        return "It has no options.\n"
    return definitions((_term(prefix, row), text(row.help)) for row in found)


def _term(prefix: str, row: OptionInfo) -> str:
    """Name, type, bounds and default of an option; the classes are those of the style sheet."""
    kind = f"{row.type}, {row.bounds}" if row.bounds else row.type
    default = "required" if row.required else f"default {_default(row.default)}"
    target = f"{prefix}-{row.name}".replace("_", "-")
    return f"[{code(row.name)}]{{#{target} .option}} [{escaped(f'{kind}; {default}')}]{{.facts}}"


def _default(value: Any) -> str:
    """A default as a configuration file takes it."""
    return value if isinstance(value, str) and value else json.dumps(_plain(value))


def _plain(value: Any) -> Any:
    if attrs.has(type(value)):
        return attrs.asdict(value)
    return list(value) if isinstance(value, tuple) else value
