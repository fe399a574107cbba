"""Plain text in columns, colored on a terminal, for commands that must answer at once.

It is small on purpose: importing rich takes longer than all else that these commands do.
"""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

Style = Mapping[str, Any]
"""Keywords of `click.style`."""
PLAIN: Style = {}
BOLD: Style = {"bold": True}
DIM: Style = {"dim": True}
NAME: Style = {"fg": "cyan"}
GOOD: Style = {"fg": "green"}
WARN: Style = {"fg": "yellow"}
BAD: Style = {"fg": "red"}


def page_width() -> int:
    """The width to write for: that of the terminal (or COLUMNS), from 40 to 120; 100 in a pipe."""
    return max(40, min(120, shutil.get_terminal_size((100, 24)).columns))


def wrapped(text: str, indent: int = 0, style: Style = PLAIN) -> Iterator[str]:
    """`text` in lines that fit the page, each `indent` columns in."""
    room = max(20, page_width() - indent)
    for line in textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False) or [""]:
        yield " " * indent + click.style(line, **style)


def columns(rows: Sequence[Sequence[str]], styles: Sequence[Style], indent: int = 2, gap: int = 2) -> Iterator[str]:
    """Each of `rows` as one text, its cells in columns `gap` spaces apart;
    the last cell is wrapped within its column.

    A line break in the last cell begins a paragraph; `styles` beyond the columns are those of the
    later paragraphs.
    """
    count = len(rows[0]) if rows else 0
    widths = [max(len(row[index]) for row in rows) for index in range(count - 1)]
    start = indent + sum(width + gap for width in widths)
    for *cells, last in rows:
        head = " " * indent
        for cell, style, width in zip(cells, styles, widths, strict=False):
            head += click.style(cell, **style) + " " * (width - len(cell) + gap)
        lines: list[str] = []
        for index, paragraph in enumerate(last.split("\n")):
            style = styles[min(count - 1 + index, len(styles) - 1)]
            lines.extend(wrapped(paragraph, start, style))
        yield head + "\n".join(lines)[start:]
