"""A result as one HTML page that needs nothing else: no network, no script; light and dark,
a phone's width, paper."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType

from lot_cli.page.elements import (
    SERIES,
    details,
    document,
    escaped,
    figure,
    legend,
    listing,
    pairs,
    stamp,
    table,
    text as escape,
    warnings,
)
from lot_cli.page.figures import coinciding_words, curves, dash_of
from lot_cli.study.report import equal_time, passports, reliance, runs, svg, tables, wording
from lot_cli.study.result import Comparison, Result, Summary
from lot_cli.terminal.numbers import count, interval, number


def to_html(result: Result, pictures: Mapping[str, tuple[str, str]] = MappingProxyType({})) -> str:
    """The page. pictures: of arms, as `runs.pictures` gives them."""
    return document(result.name, _body(result, pictures))


def _body(result: Result, pictures: Mapping[str, tuple[str, str]]) -> Iterator[str]:
    colors = series_of_arms(result.reference, result.arms)
    yield from _head(result)
    yield from _verdicts(result)
    yield f"<h2>{escape(wording.heading(result))}</h2>"
    yield _comparisons(result, colors)
    yield f'<p class="small">{escape(wording.tests_used(result))}</p>'
    yield from _equal_time(result)
    yield from _figures(result, colors)
    yield from _diagnostics(result, colors, pictures)
    yield "<h2>Arms and what they cost</h2>"
    yield _arms(result)
    yield f'<p class="small">{escape(wording.cost_note(result))}</p>'
    yield from _reliance(result)
    yield "<h2>What each arm is</h2>"
    yield table([("arm", ""), ("configuration", "wrap")], escaped(wording.setup_rows(result)), cards=True)
    yield from _passports(result)
    yield "<h2>Fairness</h2>"
    yield listing(wording.fairness_lines(result))
    yield from _initial(result)
    yield from _tuning(result)
    yield from _claims(result)
    yield from _registration(result)
    yield "<h2>Every seed</h2>"
    for metric in result.metrics:
        head = [(metric, ""), *((name, "n") for name in result.arms)]
        yield table(head, escaped(wording.seed_rows(result, metric)))
    if lost := list(wording.lost_lines(result)):
        yield listing(lost)
    yield details(f"{count(len(result.runs), 'run')} and their folders", _runs(result))
    yield f"<h2>To repeat it</h2><pre>{escape(result.command)}</pre>"
    yield pairs(wording.environment_rows(result))


def _head(result: Result) -> Iterator[str]:
    yield f"<header><h1>{escape(result.name)}</h1>"
    if result.question:
        yield f"<p>{escape(result.question)}</p>"
    yield f'<p class="faint">{len(result.arms)} arms, {len(result.seeds)} seeds, {escape(wording.date(result))}</p></header>'


def _verdicts(result: Result) -> Iterator[str]:
    if reasons := result.fairness.reasons:
        yield stamp("UNFAIR", reasons)
    items = (
        f'<li class="{escape(_class(c))}"><b>{escape(wording.conclusion(c))}</b> <span>{escape(wording.facts(c))}</span></li>'
        for c in wording.main_comparisons(result)
    )
    yield f'<ul class="verdicts">{"".join(items)}</ul>'
    if caveats := wording.caveats(result):
        yield warnings("To read this rightly", caveats)
    if doubts := wording.doubts(result):
        yield warnings("", doubts)


def _comparisons(result: Result, colors: Mapping[str, int]) -> str:
    spans = {metric: _span([c for c in result.comparisons if c.metric == metric]) for metric in result.metrics}

    def row(c: Comparison) -> tuple[str, ...]:
        drawn = svg.difference(c, 1.05 * spans[c.metric], colors[c.arm]) if c.low is not None else ""
        return (
            escape(wording.name_of(c, result)),
            escape(tables.metric_cell(c)),
            f'<b class="{escape(_class(c))}">{escape(wording.verdict(c))}</b>',
            *(escape(cell) for cell in tables.difference_cells(c)),
            drawn,
            *(escape(cell) for cell in tables.test_cells(c)),
        )

    head = [
        ("arm", ""),
        ("metric", ""),
        ("verdict", ""),
        ("difference", "n"),
        (wording.interval_title(result), ""),
        ("", "drawn"),
    ]
    head += [(title, "n") for title in tables.TEST_TITLES]
    return table(head, map(row, result.comparisons), cards=True)


def _equal_time(result: Result) -> Iterator[str]:
    yield f"<h2>{escape(equal_time.HEADING)}</h2>"
    if rows := list(equal_time.rows(result)):
        head = [(title, "wrap" if title.startswith("at ") else "") for title in equal_time.TITLES]
        yield table(head, escaped(rows), cards=True)
    yield f'<p class="small">{escape(" ".join(equal_time.lines(result)))}</p>'


def _span(comparisons: Iterable[Comparison]) -> float:
    """Half of the width that holds every interval and margin, with zero in the middle;
    in the metric's unit."""
    edges = (edge for c in comparisons for edge in (c.low, c.high, c.margin) if edge is not None)
    return max(map(abs, edges), default=0.0) or 1.0


def _figures(result: Result, colors: Mapping[str, int]) -> Iterator[str]:
    yield "<h2>Every seed, and learning</h2>"
    yield legend((name, colors[name], dash_of(place)) for place, name in enumerate(result.arms))
    yield '<div class="figures">'
    for metric in result.metrics:
        name = metric.replace("_", " ")
        arms = [(arm, colors[arm], facts.scores[metric]) for arm, facts in result.arms.items()]
        if drawn := svg.points(arms, result.seeds, metric):
            yield figure(drawn, f"{name} on test; a line joins the runs of one seed")
        lines = svg.lines([(arm, colors[arm], facts.curves[metric]) for arm, facts in result.arms.items()])
        share = all(0 <= value <= 1 for line in lines for value in line.y)
        if drawn := curves(lines, f"{metric} on validation over training steps", (0.0, 1.0) if share else None):
            yield figure(drawn, f"{name} on validation; mean and 95 % t interval{coinciding_words(lines)}")
    yield "</div>"


def _diagnostics(result: Result, colors: Mapping[str, int], pictures: Mapping[str, tuple[str, str]]) -> Iterator[str]:
    """The scalars of diagnostics over training, arms in one figure; and the pictures of one run of each arm."""
    scalars = dict.fromkeys(name for arm in result.arms.values() for name in arm.measured)
    if not scalars and not pictures:
        return
    yield "<h2>What diagnostics measured</h2>"
    if scalars:
        measured = {name: arm for name, arm in result.arms.items() if arm.measured}
        yield legend((name, colors[name], dash_of(list(result.arms).index(name))) for name in measured)
    yield '<div class="figures">'
    for name in scalars:
        lines = svg.lines([(arm, colors[arm], facts.measured.get(name)) for arm, facts in result.arms.items()])
        drawn = curves(lines, f"{name} over training steps")
        yield figure(drawn, f"{name} on validation; mean and 95 % t interval{coinciding_words(lines)}")
    yield "</div>"
    for run, drawn in pictures.values():
        yield details(f"{run}: pictures of its diagnostics", f'<div class="figures">{drawn}</div>')


def _runs(result: Result) -> str:
    head = [(title, "n" if title.startswith("tested") else "") for title in runs.TITLES]
    cells = (
        (*row[:-1], f'<a href="{escape(runs.address(run))}">{row[-1]}</a>')
        for run, row in zip(result.runs, escaped(runs.rows(result)), strict=True)
    )
    return table(head, cells)


def _arms(result: Result) -> str:
    def mean_cell(summary: Summary) -> str:
        spread = interval(summary.low, summary.high, number)
        return f"{escape(wording.mean(summary))} <span class='faint'>{escape(spread)}</span>"

    head = [("arm", ""), *((title, "n") for title in (*result.metrics, *tables.COST_TITLES))]
    means = len(result.metrics)  # `mean_cell` gives HTML
    rows = (
        (escape(name), *cells[:means], *map(escape, cells[means:]))
        for name, *cells in tables.arm_rows(result, mean_cell)
    )
    return table(head, rows, cards=True)


def _passports(result: Result) -> Iterator[str]:
    if rows := list(passports.arm_rows(result)):
        yield "<h2>Passports</h2>"
        yield table(list(zip(passports.ARM_TITLES, ("", "", *"nnnnn", "wrap"), strict=True)), escaped(rows), cards=True)
        kinds = ("", "", "wrap", "", "", "n", "n")
        head = list(zip(passports.PART_TITLES, kinds, strict=True))
        yield table(head, escaped(passports.part_rows(result)), cards=True)
        for title, lines in passports.details(result):
            yield details(title, listing(lines))


def _reliance(result: Result) -> Iterator[str]:
    if reliance.was_measured(result):
        yield f"<h2>{escape(reliance.HEADING)}</h2>"
        head = zip(reliance.TITLES, ("", "", "n", "n", "n", "n"), strict=True)
        yield table(list(head), escaped(reliance.rows(result)), cards=True)
        yield f'<p class="small">{escape(reliance.NOTE)}</p>'


def _initial(result: Result) -> Iterator[str]:
    for arm, initial in result.fairness.initial.items():
        if initial.rest:
            lines = (f"{name}: {why}" for name, why in initial.rest.items())
            tensors = f"{count(len(initial.rest), 'tensor')} not as in the reference at the start"
            yield details(f"{arm}: {tensors}", listing(lines))


def _tuning(result: Result) -> Iterator[str]:
    if rows := list(tables.tuning_rows(result)):
        yield "<h2>Tuning, on validation</h2>"
        head = zip(tables.tuning_titles(result), ("", "wrap", "n", "n", ""), strict=True)
        cells = ((*row, f"<b>{chosen}</b>" if chosen else "") for *row, chosen in escaped(rows))
        yield table(list(head), cells)


def _claims(result: Result) -> Iterator[str]:
    if rows := list(tables.claim_rows(result)):
        yield "<h2>Published figures</h2>"
        head = zip(tables.CLAIM_TITLES, ("", "", "n", "n", "", "wrap"), strict=True)
        yield table(list(head), escaped(rows))


def _registration(result: Result) -> Iterator[str]:
    registration = result.registration
    if registration is None:
        return
    when, under = escape(registration.date), escape(registration.hash[:16])
    yield f"<h2>Registration</h2><p>Registered {when} under <code>{under}</code>.</p>"
    yield listing(f"hypothesis: {text}" for text in registration.hypotheses)
    if registration.deviations:
        yield warnings("Deviations", registration.deviations)
    else:
        yield "<p>No deviation.</p>"


def series_of_arms(reference: str, arms: Iterable[str]) -> dict[str, int]:
    """The number of the color of each arm: 0 for the reference, then one after the other."""
    others = [name for name in arms if name != reference]
    return {reference: 0, **{name: 1 + index % (SERIES - 1) for index, name in enumerate(others)}}


def _class(c: Comparison) -> str:
    return wording.tone(c).replace(" ", "-")
