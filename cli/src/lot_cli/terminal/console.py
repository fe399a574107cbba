"""What several commands print with rich: warnings on stderr, and the table of final metrics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from lot_cli.terminal.echo import visible
from lot_cli.terminal.numbers import number

LEAST_WIDTH = 20
"""Columns that a table gets at least, whatever the terminal says."""


class _Console(Console):
    """Shows the control characters of what it prints, and obeys its own only."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=visible(segment.text))

    def on_broken_pipe(self) -> None:
        """Fail as every other write to a closed pipe does: rich would end the program itself, which looks like a bug."""
        raise BrokenPipeError


def console(*, stderr: bool = True) -> Console:
    """A console that prints text as it is: a path or an option may hold [brackets] or :colons:."""
    made = _Console(stderr=stderr, markup=False, emoji=False)
    if made.width < LEAST_WIDTH:  # COLUMNS=0 would print nothing
        made.width = LEAST_WIDTH
    return made


def warning_text(text: str) -> Text:
    """`text` behind the colored word `warning:`."""
    return Text.assemble(("warning: ", "yellow"), text)


def unfair_text(reason: str) -> Text:
    """`reason` behind the colored word `UNFAIR`."""
    return Text.assemble(("UNFAIR ", "red bold"), reason)


def warn(text: str) -> None:
    """Print a warning on stderr."""
    console().print(warning_text(text), soft_wrap=True)


def metrics_table(metrics: Mapping[str, float | None], title: str, *, leak: bool, stderr: bool = False) -> None:
    """Print the final metrics as a table."""
    table = Table()
    table.add_column("metric")
    table.add_column("value", justify="right")
    for name, value in metrics.items():
        table.add_row(name, number(value, absent="not finite"))
    where = console(stderr=stderr)
    where.print(title, style="bold", soft_wrap=True)
    where.print(table)
    if leak:
        where.print("LEAK: this model saw what it was asked to predict", style="red bold")
