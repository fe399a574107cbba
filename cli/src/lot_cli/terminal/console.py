"""Text, figures and tables on the terminal."""

from __future__ import annotations

import math
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text


def finite(metrics: dict[str, Any]) -> dict[str, float | None]:
    """Metrics for JSON, which has no NaN and no infinity: null stands for them."""
    return {key: value if value is not None and math.isfinite(value) else None for key, value in metrics.items()}


def console(*, stderr: bool = True) -> Console:
    """A console that prints text as it is: a path or an option may hold [brackets] or :colons:."""
    return Console(stderr=stderr, markup=False, emoji=False)


def say(text: str) -> None:
    """A warning on stderr."""
    console().print(Text.assemble(("warning: ", "yellow"), text), soft_wrap=True)


def number(value: Any) -> str:
    """A figure for people: four significant digits, thousands grouped."""
    if value is None or not math.isfinite(value):
        return "not finite"
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"


def metrics_table(metrics: dict[str, Any], title: str, *, leak: bool, stderr: bool = False) -> None:
    """The final metrics as a table."""
    table = Table()
    table.add_column("metric")
    table.add_column("value", justify="right")
    for name, value in metrics.items():
        table.add_row(name, number(value))
    where = console(stderr=stderr)
    where.print(title, style="bold", soft_wrap=True)
    where.print(table)
    if leak:
        where.print("LEAK: this model saw what it was asked to predict", style="red bold")
