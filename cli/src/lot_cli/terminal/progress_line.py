"""The line that moves at the bottom of the terminal while a run or a study works."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column

FREE = 4
"""Columns at the right that stay empty: there the terminal shows ^C, which would otherwise begin a second line."""


class _Line(Progress):
    """One line, never wider than the terminal: what does not fit of the facts is left out."""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield _Narrower(self.make_tasks_table(self.tasks))


@dataclass(frozen=True)
class _Narrower:
    """`what`, in all columns but the last `FREE`."""

    what: RenderableType

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from console.render(self.what, options.update_width(max(1, options.max_width - FREE)))


class ProgressLine:
    """A bar, `7/20`, a few facts and the time left.

    It shows nothing where the console is no terminal.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._progress: Progress | None = None

    @property
    def shown(self) -> bool:
        """Whether the line is on the screen now."""
        return self._progress is not None

    def begin(self, total: int, completed: int) -> None:
        """Show the line, with `completed` of `total` steps done; a line that is shown already is
        replaced."""
        self.end()
        if not self.console.is_terminal:
            return
        whole, rest = Column(no_wrap=True), Column(no_wrap=True, overflow="ellipsis", ratio=1)
        self._progress = _Line(
            BarColumn(bar_width=8),
            MofNCompleteColumn(table_column=whole),
            TextColumn("{task.fields[facts]}", markup=False, table_column=rest),
            TimeRemainingColumn(table_column=Column(no_wrap=True)),
            console=self.console,
            expand=True,
        )
        self._progress.start()
        self._progress.add_task("", total=total, completed=completed, facts="")

    def update(self, completed: int, facts: str) -> None:
        """Move the bar and change the facts."""
        if self._progress is not None:
            (task,) = self._progress.task_ids
            self._progress.update(task, completed=completed, facts=facts)

    def end(self) -> None:
        """Leave the line as it stands, so that what is printed next begins below it."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
