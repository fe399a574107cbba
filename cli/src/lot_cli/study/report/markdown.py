"""A result as Markdown, which reads well in a repository."""

from __future__ import annotations

from collections.abc import Iterator

from lot_cli.study.design.registration import Registration
from lot_cli.study.report import equal_time, passports, reliance, runs, tables, wording
from lot_cli.study.result import Result, Summary
from lot_cli.terminal.markdown import table as _table
from lot_cli.terminal.numbers import interval, number


def to_markdown(result: Result) -> str:
    """The whole report; headings from the first level on."""
    return "\n".join(_lines(result)) + "\n"


def _lines(result: Result) -> Iterator[str]:
    yield from _head(result)
    yield from ("", f"## {wording.heading(result)}", "")
    yield from _comparisons(result)
    yield from ("", wording.tests_used(result), "")
    yield from _equal_time(result)
    yield from ("## Arms", "")
    yield from _table(("arm", *result.metrics, *tables.COST_TITLES), tables.arm_rows(result, _mean_cell))
    yield from ("", wording.cost_note(result), "")
    if reliance.was_measured(result):
        yield from (f"## {reliance.HEADING}", "")
        yield from _table(reliance.TITLES, reliance.rows(result))
        yield from ("", reliance.NOTE, "")
    yield from ("## Every seed", "")
    for metric in result.metrics:
        yield from _table((metric, *result.arms), wording.seed_rows(result, metric))
        yield ""
    if lost := [f"- {line}" for line in wording.lost_lines(result)]:
        yield from (*lost, "")
    yield from _table(runs.TITLES, runs.rows(result))
    yield ""
    yield from ("## What each arm is", "")
    yield from _table(("arm", "configuration"), wording.setup_rows(result))
    yield from _passports(result)
    yield from ("", "## Fairness", "", *(f"- {line}" for line in wording.fairness_lines(result)))
    if trials := list(tables.tuning_rows(result)):
        yield from ("", "## Tuning, on validation", "")
        yield from _table(tables.tuning_titles(result), trials)
    if claims := list(tables.claim_rows(result)):
        yield from ("", "## Published figures", "")
        yield from _table(tables.CLAIM_TITLES, claims)
    if result.registration is not None:
        yield from _registration(result.registration)
    yield from ("", "## To repeat it", "", "```", result.command, "```", "")
    yield from _table(("", ""), wording.environment_rows(result))


def _head(result: Result) -> Iterator[str]:
    """Name, question, verdicts in the main metric, and what speaks against them."""
    yield f"# {result.name}"
    if result.question:
        yield from ("", result.question)
    yield ""
    for reason in result.fairness.reasons:
        yield f"**UNFAIR:** {reason}  "
    for comparison in wording.main_comparisons(result):
        yield f"- **{wording.sentence(comparison)}**"
    if caveats := wording.caveats(result):
        yield from ("", *(f"> To read this rightly: {caveat}  " for caveat in caveats))
    if doubts := wording.doubts(result):
        yield from ("", *(f"> Warning: {warning}  " for warning in doubts))


def _comparisons(result: Result) -> Iterator[str]:
    titles = ("arm", "metric", "difference", wording.interval_title(result), *tables.TEST_TITLES, "verdict")
    yield from _table(titles, (tables.comparison_row(result, c) for c in result.comparisons))


def _passports(result: Result) -> Iterator[str]:
    """What the kit says of every arm, and of every component."""
    if rows := list(passports.arm_rows(result)):
        yield from ("", "## Passports", "")
        yield from _table(passports.ARM_TITLES, rows)
        yield ""
        yield from _table(passports.PART_TITLES, passports.part_rows(result))
        for title, lines in passports.details(result):
            yield from ("", f"**{title}**", "", *(f"- {line}" for line in lines))


def _equal_time(result: Result) -> Iterator[str]:
    yield from (f"## {equal_time.HEADING}", "")
    if rows := list(equal_time.rows(result)):
        yield from _table(equal_time.TITLES, rows)
        yield ""
    yield from (" ".join(equal_time.lines(result)), "")


def _mean_cell(summary: Summary) -> str:
    return f"{wording.mean(summary)} {interval(summary.low, summary.high, number)}".strip()


def _registration(registration: Registration) -> Iterator[str]:
    yield from ("", "## Registration", "", f"Registered {registration.date} under `{registration.hash}`.", "")
    yield from (f"- hypothesis: {text}" for text in registration.hypotheses)
    yield from (f"- **deviation:** {text}" for text in registration.deviations)
