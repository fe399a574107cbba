"""A sweep as one HTML page: the best configuration, what speaks against it, pictures and the table. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lot.config.yaml import dump_yaml
from lot_cli.page.elements import details, document, escaped, figure, table, text, warnings
from lot_cli.sweep.picture import against, field
from lot_cli.sweep.result import SweepResult
from lot_cli.sweep.table import best_line, cells, heading, titles
from lot_cli.terminal.numbers import count


def to_html(result: SweepResult, steps: Sequence[tuple[str, str]]) -> str:
    """The page. steps: what a user may want to do next -> the command."""
    return document(result.name, _body(result, steps))


def _body(result: SweepResult, steps: Sequence[tuple[str, str]]) -> Iterator[str]:
    yield f"<header><h1>{text(result.name)}</h1>"
    yield f'<p class="faint">{text(heading(result))}, {text(result.date[:16].replace("T", " "))} UTC</p></header>'
    if (said := best_line(result)) is not None:
        yield f"<p><b>{text(said)}</b></p>"
    if result.warnings:
        yield warnings("To read this rightly", result.warnings)
    yield "<h2>Next</h2>"
    for what, command in steps:
        yield f"<p>{text(what)}</p><pre>{text(command)}</pre>"
    if drawn := [*_figures(result)]:
        yield f'<h2>{text(result.objective)} against the options</h2><div class="figures">{"".join(drawn)}</div>'
    yield "<h2>Every configuration</h2>"
    names = titles(result, every_metric=True)[1:-1]
    head = [("place", "n"), *((name, "n") for name in names), ("", "")]
    yield table(head, escaped(cells(result, every_metric=True)), cards=True)
    runs = [
        (str(place), str(run.seed), run.state, f"runs/{run.key}", run.message)
        for place, row in enumerate(result.rows, start=1)
        for run in row.runs
    ]
    listed = table([("place", "n"), ("seed", "n"), ("state", ""), ("directory", ""), ("", "wrap")], escaped(runs))
    yield details(count(len(runs), "run"), listed)
    yield f"<h2>The sweep</h2><pre>{text(dump_yaml(result.sweep).rstrip())}</pre>"


def _figures(result: SweepResult) -> Iterator[str]:
    """A picture for each option, and the field of a grid of two."""
    if drawn := field(result):
        yield figure(drawn, f"{result.objective} on validation for each pair; the best has a frame")
    for path in result.paths:
        if len({str(row.values[path]) for row in result.rows}) > 1 and (drawn := against(result, path)):
            yield figure(
                drawn, f"{result.objective} on validation against {path}; the best is orange, without a score a cross"
            )
