"""What a study shows while it works: what is about to happen, and how far it has come.

All of it goes to stderr.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any

from rich.text import Text

from lot_cli.study.analysis.warnings import power_warning
from lot_cli.study.design.fairness import Fairness
from lot_cli.study.report import wording
from lot_cli.study.report.passports import passport_line
from lot_cli.study.result import Reach
from lot_cli.terminal.console import console, unfair_text, warning_text
from lot_cli.terminal.numbers import count
from lot_cli.terminal.progress_line import ProgressLine


class StudyProgress:
    """Shows the events of a study.

    Use it as a context, so that the line that moves ends cleanly.
    """

    def __init__(self) -> None:
        self.console = console()
        self.line = ProgressLine(self.console)
        self.done = self.total = 0

    def __enter__(self) -> StudyProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.line.end()

    def tell(self, event: str, facts: dict[str, Any]) -> None:
        """Show one event."""
        getattr(self, f"_{event}")(facts)

    def _passport(self, facts: dict[str, Any]) -> None:
        self._say(passport_line(facts["arm"], facts["passport"], facts["seconds"]))

    def _fairness(self, facts: dict[str, Any]) -> None:
        found: Fairness = facts["fairness"]
        reach: Reach = facts["reach"]
        budget = found.budget
        self._say(
            f"{len(found.matched)} arms x {reach.seeds} seeds, {budget.steps:,} steps of {budget.tokens_per_step:,} tokens"
            + (f", {count(budget.tuning_runs, 'tuning run')} for each arm" if budget.tuning_runs else "")
        )
        for matched in found.matched:
            resized = (
                f", MLP {matched.hidden_before} -> {matched.hidden}" if matched.hidden != matched.hidden_before else ""
            )
            self._say(f"  {matched.arm}: {matched.parameters:,} parameters ({matched.difference:+.2%}){resized}")
        for paced in found.paced:
            self._say(f"  {wording.paced_line(paced)}")
        self._say(
            f"smallest p that can be reached: {reach.smallest_p:.3g}, at level {reach.alpha:.3g} over "
            f"{count(reach.comparisons, 'comparison')} judged together"
        )
        if (short := power_warning(reach)) is not None:
            self.console.print(warning_text(short), soft_wrap=True)
        for reason in found.reasons:
            self.console.print(unfair_text(reason), soft_wrap=True)

    def _calibrate(self, facts: dict[str, Any]) -> None:
        arms = ", ".join(facts["arms"])
        self._say(f"timing training steps of {arms} in turns, {facts['rounds']} rounds")

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

    def _tuned(self, facts: dict[str, Any]) -> None:
        self.line.end()
        self._say(f"{facts['arm']}: tuning chose {wording.values(facts['values'])}")

    def _reliance(self, facts: dict[str, Any]) -> None:
        self.line.end()
        self._say(f"{facts['arm']}: measuring what {count(facts['runs'], 'model')} rely on")

    def _say(self, text: str) -> None:
        self.console.print(text, soft_wrap=True, highlight=False)
