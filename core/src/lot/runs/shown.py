"""How a result shows itself: as aligned lines in a terminal, as a table in a notebook. Imports no torch."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

LEAK = "LEAK: this model saw what it was asked to predict"


@dataclass(frozen=True)
class Table:
    """A line that says what it is, and rows of texts. head: the titles of the columns, or empty."""

    title: str
    rows: Sequence[Sequence[str]]
    head: Sequence[str] = ()
    leak: bool = False


class Shown:
    """A result whose `repr` is for people: it says in `table` what it shows."""

    def table(self) -> Table:
        """What is shown."""
        raise NotImplementedError

    def __repr__(self) -> str:
        table = self.table()
        rows = [list(row) for row in (table.head, *table.rows) if row]
        columns = max((len(row) for row in rows), default=0)
        widths = [max(len(row[i]) for row in rows if i < len(row)) for i in range(columns)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)) for row in rows]
        return "\n".join([table.title, *([LEAK] if table.leak else []), *(f"  {line}".rstrip() for line in lines)])

    def _repr_html_(self) -> str:
        table = self.table()
        leak = f'<br><strong style="color:#B00020">{LEAK}</strong>' if table.leak else ""
        caption = f'<caption style="text-align:left">{html.escape(table.title)}{leak}</caption>'
        head = f"<thead>{_row(table.head, 'th')}</thead>" if table.head else ""
        return f"<table>{caption}{head}<tbody>{''.join(_row(row, 'td') for row in table.rows)}</tbody></table>"


def _row(cells: Sequence[str], tag: str) -> str:
    return f"<tr>{''.join(f'<{tag}>{html.escape(cell)}</{tag}>' for cell in cells)}</tr>"


def written(value: float | None) -> str:
    """A number with four significant digits; whole numbers as they are."""
    if value is None or not math.isfinite(value):
        return "not finite"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
