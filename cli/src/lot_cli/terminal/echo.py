"""How text reaches the terminal: control characters in it are shown and never obeyed.

A corpus, a name in a file from a stranger or the message of a plugin may hold them: they would move the cursor, change the
title of the window, or hide what was said. Everything that the commands print goes through `echo` or through
`console.console`.
"""

from __future__ import annotations

import re
from typing import Any

import click

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""C0 but line feed and tab, DEL, C1, what turns the direction of writing around, and halves of a character."""
_OWN_STYLE = re.compile("(\x1b\\[(?:[0-2]|3[1-6])m)")
"""What `click.style` writes for the colors that we use: the least that a text could do with these is to be colored."""


def visible(text: str) -> str:
    r"""`text` with its control characters as escapes: `\x1b` for that of the terminal. Line feeds and tabs stay."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape", "surrogatepass").decode(), text)


def echo(text: Any = "", *, err: bool = False, nl: bool = True) -> None:
    """Print `text`, with the styles of `click.style`, on stdout or stderr."""
    parts = _OWN_STYLE.split(str(text))  # text, style, text, ...
    click.echo("".join(part if index % 2 else visible(part) for index, part in enumerate(parts)), err=err, nl=nl)
