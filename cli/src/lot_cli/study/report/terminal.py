"""A result in the terminal: tables that fit 80 columns, then everything that a reader must know
beside them."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from lot_cli.study.report import equal_time, passports, reliance, tables, wording
from lot_cli.study.result import Comparison, Result
from lot_cli.terminal.console import console, unfair_text, warning_text
from lot_cli.terminal.numbers import DASH, compact, count, p_value, seconds
from lot_cli.terminal.text import page_width

COLORS = {
    "better": "green",
    "worse": "red",
    "diverged": "red",
    "equivalent": "cyan",
    "unfair": "red",
    "leak": "red",
    "no passport": "red",
}


def show(result: Result, *, stderr: bool = False) -> None:
    """Print the result."""
    where = console(stderr=stderr)
    if not where.is_terminal:
        where.width = page_width()
    where.print(result.name, style="bold")
    if result.question:
        where.print(result.question)
    where.print()
    for metric in result.metrics:
        where.print(_comparisons(result, metric))
        where.print()
    where.print(_arms(result))
    where.print()
    if rows := list(passports.arm_rows(result)):
        where.print(_passports(rows))
        for name, *_, notes in rows:
            if notes != DASH:
                where.print(f"{name}: {notes}", soft_wrap=True, highlight=False)
        where.print()
    if reliance.was_measured(result):
        where.print(_reliance(result))
        where.print()
    _doubts(result, where)
    for comparison in wording.main_comparisons(result):
        style = f"bold {_color(comparison)}".strip()
        where.print(Text(wording.sentence(comparison), style=style), soft_wrap=True)


def _doubts(result: Result, where: Console) -> None:
    """What a reader must hold against the numbers or beside them."""
    for reason in result.fairness.reasons:
        where.print(unfair_text(reason), soft_wrap=True)
    for caveat in wording.caveats(result):
        where.print(f"to read this rightly: {caveat}", soft_wrap=True, highlight=False)
    for warning in wording.doubts(result):
        where.print(warning_text(warning), soft_wrap=True)
    if result.rule == "Holm":
        where.print("judged by the earlier rule (t intervals, Holm's correction)", highlight=False)
    elif line := wording.looks_line(result):
        where.print(line, soft_wrap=True, highlight=False)
    if said := equal_time.line(result):
        where.print(said, soft_wrap=True, highlight=False)
    for claim in result.claims:
        where.print(f"claim: {wording.claim_line(claim)}", soft_wrap=True, highlight=False)
    if (registration := result.registration) is not None:
        deviations = registration.deviations
        state = count(len(deviations), "deviation") if deviations else "no deviation"
        where.print(f"registered {registration.date} as {registration.hash[:16]}: {state}", highlight=False)
        for deviation in deviations:
            where.print(Text.assemble(("  deviation: ", "yellow"), deviation), soft_wrap=True)


def _comparisons(result: Result, metric: str) -> Table:
    """Every comparison in one metric, a line for each."""
    better = "higher" if result.metrics[metric] else "lower"
    heading = wording.heading(result)
    heading = heading[0].lower() + heading[1:]
    unfair = "" if result.fairness.fair else "   UNFAIR"
    table = _table(f"{metric} {heading} ({better} is better){unfair}")
    for name in ("arm", f"difference, {wording.interval_title(result)}", "p", "effect", "verdict"):
        table.add_column(name, justify="right" if name in ("p", "effect") else "left", no_wrap=name == "arm")
    for c in result.comparisons:
        if c.metric == metric:
            table.add_row(
                wording.name_of(c, result),
                " ".join(tables.difference_cells(c)).strip(),
                p_value(c.p_adjusted),
                tables.effect_cell(c),
                Text(wording.short_verdict(c), style=_color(c)),
            )
    return table


def _arms(result: Result) -> Table:
    """The mean of every arm in every metric, and what the arm costs."""
    table = _table()
    table.add_column("arm", no_wrap=True)
    for metric in result.metrics:
        table.add_column(metric.replace("_", " "), justify="right")
    for name in ("params", "per step", "tokens/s", "FLOPs/token", "memory"):
        table.add_column(name, justify="right")
    parameters = result.parameters
    for name, arm in result.arms.items():
        table.add_row(
            name,
            *(wording.mean(arm.summary[metric]) for metric in result.metrics),
            f"{parameters[name]:,}",
            seconds(arm.cost.seconds_per_step),
            compact(arm.cost.tokens_per_second),
            compact(arm.cost.flops_per_token),
            compact(arm.cost.peak_bytes, "B"),
        )
    return table


def _passports(rows: list[tuple[str, ...]]) -> Table:
    """What the kit says of every arm."""
    table = _table()
    for name in passports.ARM_TITLES[:-1]:
        numeric = name not in ("arm", "passport")
        table.add_column(name, justify="right" if numeric else "left", no_wrap=name == "arm")
    for name, word, *cells, _ in rows:
        table.add_row(name, Text(word, style="" if word == "passed" else "red"), *cells)
    return table


def _reliance(result: Result) -> Table:
    """What damage to each part of each arm costs."""
    table = _table(f"{reliance.HEADING[0].lower()}{reliance.HEADING[1:]} (nats on validation)")
    arm, part, _, change, spread, _ = reliance.TITLES
    for title in (arm, part, f"{change}, {spread}"):
        table.add_column(title)
    for name, part, _, change, spread, _ in reliance.rows(result):
        table.add_row(name, part, f"{change} {spread}".strip())
    return table


def _color(c: Comparison) -> str:
    return COLORS.get(wording.tone(c), "")


def _table(title: str | None = None) -> Table:
    """A table without rules between columns, so that all of it fits 80 of them."""
    return Table(
        title=title, title_justify="left", box=SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True
    )
