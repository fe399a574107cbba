"""What a sweep shows while it works. All of it goes to stderr."""

from __future__ import annotations

from typing import Any

from lot_cli.study.execution.progress import RunsProgress


class SweepProgress(RunsProgress):
    """Shows the events of a sweep."""

    def _plan(self, facts: dict[str, Any]) -> None:
        made = f", {facts['done']} of them made before" if facts["done"] else ""
        self._say(f"{facts['runs']} runs{made}")
        super()._plan(facts)
