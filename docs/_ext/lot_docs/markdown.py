"""Pieces of Markdown that the generators share: text that stays as it is, lists of terms, anchors."""

from __future__ import annotations

import re
from collections.abc import Iterable

from lot_cli.main import COMMANDS

_CODE = re.compile(r"(`[^`]*`)")
_COMMAND = rf"\blot (?:{'|'.join(COMMANDS)})\b(?: --[a-z-]+(?:[ =][^\s,;]+)?)*"
_SETTING = r"[\w./]*\w=[\w.+-]*\w"
_IDENTIFIER = r"\b[a-z][\w./]*_\w+\b"
_NAME = re.compile(f"{_COMMAND}|{_SETTING}|{_IDENTIFIER}")
"""What is surely code in prose: a command of ours, a setting (`score=head`), a name (`init_cache`)."""


def text(plain: str) -> str:
    """Plain text of a docstring or a help line as Markdown: names and what stands in backticks are code, all else is literal."""
    parts = _CODE.split(" ".join(plain.split()))
    return "".join(part if _CODE.fullmatch(part) else _literal(part) for part in parts)


def _literal(part: str) -> str:
    marked = _CODE.split(_NAME.sub(r"`\g<0>`", part))
    return "".join(each if _CODE.fullmatch(each) else escaped(each) for each in marked)


def escaped(plain: str) -> str:
    """`plain` with no sign that Markdown would read."""
    return re.sub(r"([\\*_{}\[\]<>|$~^`])", r"\\\1", plain)


def code(plain: str) -> str:
    """`plain` as code in a line."""
    return f"`{plain}`"


def anchor(name: str) -> str:
    """A target that any page can link to as `[text](#name)`."""
    return f"({name})="


def definitions(pairs: Iterable[tuple[str, str]]) -> str:
    """A definition list of Markdown terms and definitions."""
    return "\n".join(f"{term}\n: {meaning or '(no help)'}\n" for term, meaning in pairs)


def fields(pairs: Iterable[tuple[str, str]]) -> str:
    """A field list of plain names and Markdown, which the theme sets in two columns."""
    return "\n".join(f":{name}: {meaning}" for name, meaning in pairs) + "\n"
