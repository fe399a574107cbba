"""What a study or a sweep shows while runs are made: how far it has come, and which runs went wrong.

All of it goes to stderr.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from rich.text import Text

from lot_cli.terminal.console import console, warning_text
from lot_cli.terminal.progress_line import ProgressLine


class RunsProgress:
    """Shows the events of making runs.

    Use it as a context, so that the line that moves ends cleanly.
    """

    def __init__(self) -> None:
        self.console = console()
        self.line = ProgressLine(self.console)
        self.done = self.total = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.line.end()

    def tell(self, event: str, facts: dict[str, Any]) -> None:
        """Show one event."""
        getattr(self, f"_{event}")(facts)

    def _plan(self, facts: dict[str, Any]) -> None:
        self.line.end()
        self.done, self.total = facts["done"], facts["runs"]
        if self.done < self.total:
            self.line.begin(self.total, self.done)

    def _run(self, facts: dict[str, Any]) -> None:
        self.done += facts["state"] in ("complete", "diverged")
        if self.line.shown:
            self.line.update(self.done, facts["label"])
        elif facts["state"] == "complete":
            self._say(f"{self.done}/{self.total}  {facts['label']}")
        if facts["state"] != "complete":
            line = Text.assemble((facts["state"], "red"), f"  {facts['label']}: {facts['message']}")
            self.console.print(line, soft_wrap=True)

    def _damaged(self, facts: dict[str, Any]) -> None:
        text = f"{facts['label']}: {facts['problem']}; set aside as {facts['aside']}, and made again"
        self.console.print(warning_text(text), soft_wrap=True)

    def _say(self, text: str) -> None:
        self.console.print(text, soft_wrap=True, highlight=False)
