"""What a sweep shows while it works. All of it goes to stderr."""

from __future__ import annotations

from typing import Any

from lot_cli.study.execution.progress import RunsProgress
from lot_cli.terminal.numbers import count


class SweepProgress(RunsProgress):
    """Shows the events of a sweep."""

    def _plan(self, facts: dict[str, Any]) -> None:
        if facts["done"]:
            self._say(f"{facts['done']} of {count(facts['runs'], 'run')} made before")
        super()._plan(facts)
