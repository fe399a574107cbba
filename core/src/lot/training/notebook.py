"""How training shows itself in a notebook: one line that is rewritten, and a line for each warning."""

from __future__ import annotations

import html
import sys
import time
from typing import Any

from lot.runs.shown import LEAK, written

EVERY = 0.2
"""Seconds between two changes of the line: a browser draws each."""


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook. Imports nothing."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell is not None and hasattr(shell, "kernel")


class NotebookProgress:
    """A report for `lot.train` that needs no widgets: an output of the cell, which is rewritten while the run goes on."""

    def __init__(self) -> None:
        self._header: dict[str, Any] = {}
        self._facts: dict[str, str] = {}
        self._line: Any = None  # the output that is rewritten
        self._drawn = -EVERY
        self._began: tuple[float, int] | None = None  # from which the time that is left is estimated

    def __call__(self, event: str, facts: dict[str, Any]) -> None:
        """Show an event; one that has nothing to show is passed over."""
        show = getattr(self, f"_{event}", None)
        if show is not None:
            show(facts)

    def _start(self, facts: dict[str, Any]) -> None:
        self._header = facts
        self._began = None
        text = f"{facts['title']}: {facts['parameters']:,} parameters, {facts['device']}, recorded in {facts['run']}"
        _output(f"{text}\n{LEAK}" if facts["leak"] else text)
        self._line = _output(f"step {facts['step']:,}/{facts['steps']:,}")

    _resume = _start

    def _log(self, row: dict[str, Any]) -> None:
        self._facts["loss"] = f"loss {written(row['loss'])}"
        self._facts["speed"] = f"{row['tokens_per_second']:,.0f} tokens/s"
        self._draw(row["step"])

    def _validation(self, row: dict[str, Any]) -> None:
        primary = self._header["primary"]
        self._facts["validation"] = f"validation {primary} {written(row[primary])}"
        self._draw(row["step"])

    def _draw(self, step: int) -> None:
        now, steps = time.monotonic(), self._header["steps"]
        if now - self._drawn < EVERY and step < steps:
            return
        self._drawn = now
        if self._began is None:  # the first steps fill caches, and say nothing about the later ones
            self._began = (now, step)
        since, first = self._began
        left = [f"{(now - since) / (step - first) * (steps - step):.0f} s left"] if first < step < steps else []
        parts = [self._facts[name] for name in ("loss", "validation", "speed") if name in self._facts]
        self._line.update(_both("  ".join([f"step {step:,}/{steps:,}", *parts, *left])), raw=True)

    def _warning(self, facts: dict[str, Any]) -> None:
        _output(f"warning: {facts['text']}")

    def _end(self, facts: dict[str, Any]) -> None:
        if facts["already"]:
            _output(f"{facts['run']} is complete already; nothing to do")


def _output(text: str) -> Any:
    """Show `text` as an output of the cell; the handle that rewrites it."""
    from IPython import display

    show: Any = display.display  # untyped where IPython is installed
    return show(_both(text), raw=True, display_id=True)


def _both(text: str) -> dict[str, str]:
    """The forms in which a notebook may show a text."""
    return {"text/plain": text, "text/html": f'<pre style="margin:0">{html.escape(text)}</pre>'}
