"""The line that moves at the bottom of the terminal while a run or a study works."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


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
        self._progress = Progress(
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("{task.fields[facts]}"),
            TimeRemainingColumn(),
            console=self.console,
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
