"""What a study shows while it works: what is about to happen, and how far it has come.

All of it goes to stderr.
"""

from __future__ import annotations

from typing import Any

from lot_cli.study.analysis.warnings import power_warning
from lot_cli.study.design.fairness import Fairness
from lot_cli.study.execution.progress import RunsProgress
from lot_cli.study.report import wording
from lot_cli.study.report.passports import passport_line
from lot_cli.study.result import Reach
from lot_cli.terminal.console import unfair_text, warning_text
from lot_cli.terminal.numbers import count


class StudyProgress(RunsProgress):
    """Shows the events of a study."""

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
        self._say(f"timing training steps of {arms} in turns, in {facts['processes']} processes one after the other")

    def _timed(self, facts: dict[str, Any]) -> None:
        if not self.line.shown:
            self.line.begin(facts["of"], 0)
        self.line.update(facts["done"], "processes timed")
        if facts["done"] == facts["of"]:
            self.line.end()

    def _tuned(self, facts: dict[str, Any]) -> None:
        self.line.end()
        self._say(f"{facts['arm']}: tuning chose {wording.values(facts['values'])}")

    def _reliance(self, facts: dict[str, Any]) -> None:
        self.line.end()
        self._say(f"{facts['arm']}: measuring what {count(facts['runs'], 'model')} rely on")
