"""A study in the terminal: what is about to happen, progress, and the table at the end."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from lot_cli.study.report import wording
from lot_cli.study.report.numbers import compact, count, interval, number, p_value, seconds, signed
from lot_cli.study.report.wording import Document
from lot_cli.terminal.text import page_width

COLORS = {"better": "green", "worse": "red", "diverged": "red", "equivalent": "cyan", "unfair": "red"}


class Progressing:
    """Shows the events of a study on stderr; used as a context so that the live line ends cleanly."""

    def __init__(self) -> None:
        self.console = Console(stderr=True)
        self.progress: Progress | None = None
        self.task: TaskID | None = None
        self.done = self.total = 0

    def __enter__(self) -> Progressing:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def tell(self, event: str, facts: dict[str, Any]) -> None:
        """Show one event."""
        getattr(self, f"_{event}")(facts)

    def _fairness(self, facts: dict[str, Any]) -> None:
        found, reach = facts["fairness"], facts["reachable"]
        budget = found.budget
        say = self._say
        say(
            f"{len(found.matched)} arms x {reach['seeds']} seeds, {budget['steps']:,} steps of "
            f"{budget['tokens_per_step']:,} tokens"
            + (f", {budget['tuning_runs']} tuning runs for each arm" if budget["tuning_runs"] else "")
        )
        for matched in found.matched:
            resized = (
                f", MLP {matched.hidden_before} -> {matched.hidden}" if matched.hidden != matched.hidden_before else ""
            )
            say(f"  {matched.arm}: {matched.parameters:,} parameters ({matched.difference:+.2%}){resized}")
        say(
            f"smallest p that can be reached: {reach['smallest_p']:.3g}; over {reach['comparisons']} comparisons (Holm) "
            f"{reach['smallest_p_holm']:.3g}"
        )
        if (short := wording.power_warning(reach)) is not None:
            self.console.print(Text.assemble(("warning: ", "yellow"), short), soft_wrap=True)
        for reason in found.reasons:
            self.console.print(Text.assemble(("UNFAIR ", "red bold"), reason), soft_wrap=True)

    def _plan(self, facts: dict[str, Any]) -> None:
        self._end()
        self.done, self.total = facts["done"], facts["runs"]
        if self.console.is_terminal and self.done < self.total:
            self.progress = Progress(
                BarColumn(bar_width=20),
                MofNCompleteColumn(),
                TextColumn("{task.fields[facts]}"),
                TimeRemainingColumn(),
                console=self.console,
            )
            self.progress.start()
            self.task = self.progress.add_task("runs", total=self.total, completed=self.done, facts="")

    def _run(self, facts: dict[str, Any]) -> None:
        self.done += facts["state"] in ("complete", "diverged")
        if self.progress is not None and self.task is not None:
            self.progress.update(self.task, completed=self.done, facts=facts["label"])
        elif facts["state"] == "complete":
            self._say(f"{self.done}/{self.total}  {facts['label']}")
        if facts["state"] != "complete":
            line = Text.assemble((facts["state"], "red"), f"  {facts['label']}: {facts['message']}")
            self.console.print(line, soft_wrap=True)

    def _tuned(self, facts: dict[str, Any]) -> None:
        values = ", ".join(f"{path} = {value}" for path, value in facts["values"].items())
        self._say(f"{facts['arm']}: chose {values}")

    def _say(self, text: str) -> None:
        self.console.print(text, soft_wrap=True, markup=False, highlight=False)

    def _end(self) -> None:
        if self.progress is not None:
            self.progress.stop()
            self.progress = None


def show(document: Document, *, stderr: bool = False) -> None:
    """The result as tables."""
    console = Console(stderr=stderr)
    if not console.is_terminal:
        console.width = page_width()
    console.print(document["name"], style="bold", markup=False)
    if document["question"]:
        console.print(document["question"], markup=False)
    console.print()
    for metric in document["metrics"]:
        console.print(_comparisons(document, metric))
        console.print()
    console.print(_arms(document))
    console.print()
    for reason in document["fairness"]["reasons"]:
        console.print(Text.assemble(("UNFAIR ", "red bold"), reason), soft_wrap=True)
    for warning in document["warnings"]:
        console.print(Text.assemble(("warning: ", "yellow"), warning), soft_wrap=True)
    for claim in document["claims"]:
        console.print(f"claim: {claim_line(claim)}", soft_wrap=True, markup=False, highlight=False)
    if (registration := document["registration"]) is not None:
        deviations = registration["deviations"]
        state = count(len(deviations), "deviation") if deviations else "no deviation"
        console.print(f"registered {registration['date']} as {registration['hash'][:16]}: {state}", highlight=False)
        for deviation in deviations:
            console.print(Text.assemble(("  deviation: ", "yellow"), deviation), soft_wrap=True)
    for comparison in wording.main_comparisons(document):
        style = COLORS.get(wording.tone(comparison), "")
        console.print(
            Text(wording.sentence(comparison, document["reference"]), style=f"bold {style}".strip()), soft_wrap=True
        )


def claim_line(claim: dict[str, Any]) -> str:
    """A published figure beside what was measured."""
    measured = claim["measured"]
    inside = {None: "", True: ", which holds it", False: ", which does not hold it"}[claim["inside"]]
    return (
        f"{claim['arm']}, {claim['metric']} {number(claim['value'])} ({claim['source']}); measured "
        f"{number(measured['mean'])} {interval(measured['low'], measured['high'], number)}{inside}"
    )


def _comparisons(document: Document, metric: str) -> Table:
    """Every arm against the reference in one metric, a line each at 80 columns."""
    better = "higher" if document["metrics"][metric] else "lower"
    unfair = "" if document["fairness"]["fair"] else "   UNFAIR"
    table = _table(f"{metric} against {document['reference']} ({better} is better){unfair}")
    for name in ("arm", "difference, 95 % interval", "p (Holm)", "effect", "verdict"):
        table.add_column(name, justify="right" if name in ("p (Holm)", "effect") else "left", no_wrap=name == "arm")
    for c in document["comparisons"]:
        if c["metric"] == metric:
            table.add_row(
                c["arm"],
                f"{signed(c['mean'])} {interval(c['low'], c['high'])}".strip(),
                p_value(c["p_holm"]),
                signed(c["effect"]),
                Text(wording.short_verdict(c), style=COLORS.get(wording.tone(c), "")),
            )
    return table


def _arms(document: Document) -> Table:
    table = _table()
    table.add_column("arm", no_wrap=True)
    for metric in document["metrics"]:
        table.add_column(metric.replace("_", " "), justify="right")
    for name in ("params", "a step", "tokens/s", "FLOPs a token", "memory"):
        table.add_column(name, justify="right")
    parameters = {matched["arm"]: matched["parameters"] for matched in document["fairness"]["matched"]}
    for name, arm in document["arms"].items():
        cost = arm["cost"]
        table.add_row(
            name,
            *(wording.mean(arm["summary"][metric]) for metric in document["metrics"]),
            f"{parameters[name]:,}",
            seconds(cost["seconds_per_step"]),
            compact(cost["tokens_per_second"]),
            compact(cost["flops_per_token"]),
            compact(cost["peak_bytes"], "B"),
        )
    return table


def _table(title: str | None = None) -> Table:
    """A table without rules between columns, so that all of it fits 80 of them."""
    return Table(
        title=title, title_justify="left", box=SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True
    )
