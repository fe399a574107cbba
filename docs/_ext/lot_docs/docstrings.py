"""Docstrings as reStructuredText. Here they are plain prose with lines `name: meaning`, which become definition lists."""

from __future__ import annotations

import contextlib
import inspect
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

_CODE = re.compile(r"(`[^`]*`)")
_OUTCOME = re.compile(r"(?<=\.) (?=(?:Raises|Returns) )")


def process(_app: Sphinx, _kind: str, _name: str, value: Any, _options: Any, lines: list[str]) -> None:
    """Rewrite the docstring `lines` of `value` in place, as autodoc asks for it."""
    lines[:] = to_rst(lines, known_names(value))


def known_names(value: Any) -> frozenset[str]:
    """The names that a docstring of `value` may explain: parameters of a function, fields and attributes of a class."""
    names: set[str] = set()
    if inspect.isclass(value):
        for base in value.__mro__:
            names |= {name for name in {**vars(base), **inspect.get_annotations(base)} if name[0] != "_"}
    with contextlib.suppress(TypeError, ValueError):  # not everything that is documented can be called
        names |= set(inspect.signature(value).parameters)
    return frozenset(names)


def to_rst(lines: list[str], known: frozenset[str]) -> list[str]:
    """A docstring as reStructuredText: indented paragraphs stay as they are, others are prose with definitions."""
    found: list[str] = []
    for block in "\n".join(lines).strip("\n").split("\n\n"):
        rows = block.splitlines()
        if rows and all(row.startswith("    ") for row in rows):
            found += ["::", "", *rows, ""]
        elif rows:
            found += _prose(rows, known)
    return found


def _prose(rows: list[str], known: frozenset[str]) -> list[str]:
    """A paragraph; each `name: meaning` in it, at the start of a line or of a sentence, is a definition."""
    if not known:
        return [*map(literal, rows), ""]
    name = "|".join(sorted(map(re.escape, known), key=len, reverse=True))
    start = re.compile(rf"(?:^|(?<=\n)|(?<=[.;] ))((?:{name})(?:, (?:{name}))*): ")
    before, *items = start.split("\n".join(rows))
    found = [*map(literal, before.split("\n")), ""] if before.strip() else []
    after = ""
    for index in range(0, len(items), 2):
        meaning = " ".join(items[index + 1].split())
        if index == len(items) - 2:
            meaning, *rest = _OUTCOME.split(meaning, maxsplit=1)
            after = "".join(rest)
        terms = ", ".join(f"``{term}``" for term in items[index].split(", "))
        found += [terms, f"    {literal(meaning)}", ""]
    return [*found, literal(after), ""] if after else found


def literal(line: str) -> str:
    """A line of prose as reStructuredText: backticks mark code, and no other sign has a meaning."""
    parts = _CODE.split(line)
    return "".join(
        _inline(part) if _CODE.fullmatch(part) else re.sub(r"([\\*|])|(?<=\w)(_)(?=\W|$)", r"\\\1\2", part)
        for part in parts
    )


def _inline(part: str) -> str:
    return f"`{part}`"
