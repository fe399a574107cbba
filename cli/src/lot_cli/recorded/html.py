"""A run as one HTML page that needs nothing else. Imports torch where a diagnostic has a picture, and not before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

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
    text,
    warnings,
)
from lot_cli.page.figures import Line, coinciding_words, curves, dash_of
from lot_cli.recorded import configuration, wording
from lot_cli.recorded.curves import course, is_drawable, is_share, is_steep, metrics, of_split, terms, usual_window
from lot_cli.recorded.facts import RunFacts, at, table as table_of
from lot_cli.recorded.gallery import Warn, later_pictures, recorded_pictures
from lot_cli.terminal.numbers import number


def to_html(facts: RunFacts, warn: Warn) -> str:
    """The page. warn: told what cannot be drawn, which the page says too."""
    pictures = [*recorded_pictures(facts, warn, films=True), *later_pictures(facts, warn)]
    return document(wording.title(facts), _body(facts, pictures))


def _body(facts: RunFacts, pictures: Sequence[str]) -> Iterator[str]:
    yield from _head(facts)
    yield from _result(facts)
    yield from _learning(facts)
    if pictures:
        yield f'<h2>What its diagnostics saw</h2><div class="figures">{"".join(pictures)}</div>'
    yield from _evaluations(facts)
    yield from _harness(facts)
    yield from _configuration(facts)
    if rows := list(wording.environment(facts)):
        yield "<h2>What it ran on</h2>"
        yield pairs(rows)
    yield "<h2>To repeat it</h2>"
    for heading, command in wording.commands(facts):
        yield f'<p class="small">{text(heading)}</p><pre>{text(command)}</pre>'


def _configuration(facts: RunFacts) -> Iterator[str]:
    """What differs from the defaults, and every option at a click; all of it where the defaults are not known here."""
    every, chosen = pairs(configuration.settings(facts)), configuration.chosen(facts)
    yield "<h2>Configuration</h2>"
    if chosen is None:
        yield every
        return
    yield '<p class="small">Components, and options that are not as they are by default.</p>'
    yield pairs(chosen)
    yield details("Every option", every)


def _head(facts: RunFacts) -> Iterator[str]:
    kind, meaning = wording.STATES[facts.state]
    yield f"<header><h1>{text(wording.title(facts))}</h1><p>{text(wording.summary(facts))}</p>"
    yield f'<p><span class="{kind}">{text(meaning)}</span> <span class="faint">{text(wording.progress(facts))}</span></p></header>'
    if facts.leak:
        yield stamp("LEAK", ["this model saw what it was asked to predict"])
    if facts.state == "failed" and (message := facts.status.get("message")):
        yield stamp("FAILED", [message])
    if (command := wording.go_on(facts)) is not None:
        yield f'<p class="small">It goes on with</p><pre>{text(command)}</pre>'


def _result(facts: RunFacts) -> Iterator[str]:
    found, where = wording.final_metrics(facts)
    if found:
        items = (
            f"<li><b>{text(number(value, absent='not finite'))}</b><span>{text(name.replace('_', ' '))}, {text(where)}</span></li>"
            for name, value in found.items()
        )
        yield f'<ul class="tiles">{"".join(items)}</ul>'
    else:
        yield "<p>Nothing was measured yet.</p>"
    if told := list(wording.warnings(facts)):
        yield warnings("To read this rightly", told)
    yield "<h2>What was measured</h2>"
    yield listing(wording.measured(facts))


def _learning(facts: RunFacts) -> Iterator[str]:
    """Curves of the log; empty where nothing was logged."""
    train, validation = of_split(facts.rows, "train"), of_split(facts.rows, "validation")
    drawn = [*_losses(train, validation), *_validation(validation), *_others(train, facts.timing)]
    if drawn:
        yield f'<h2>Learning</h2><div class="figures">{"".join(drawn)}</div>'


def _losses(train: Sequence[dict[str, Any]], validation: Sequence[dict[str, Any]]) -> Iterator[str]:
    names = terms(train)
    lines, window = _smoothed(train, {name: f"train {name}" for name in names})
    validated = course(validation, "loss")
    if validated.steps:
        place = len(names)
        lines.append(Line("validation loss", 1 + place % (SERIES - 1), dash_of(place), *validated))
    log = is_steep([value for line in lines for value in line.y])
    caption = "loss, nats per scored token" + (", logarithmic" if log else "")
    if window > 1:
        caption += f"; the strong line is the mean of {window} rows of the log, the faint one each row"
    yield _drawn(lines, "loss over training steps", caption, log=log)


def _validation(validation: Sequence[dict[str, Any]]) -> Iterator[str]:
    shares = [name for name in metrics(validation) if is_share(validation, name)]
    lines = [
        Line(name.replace("_", " "), place % SERIES, dash_of(place), *course(validation, name))
        for place, name in enumerate(shares)
    ]
    yield _drawn(lines, "shares on validation over training steps", "validation, share", limits=(0.0, 1.0))
    for name in metrics(validation):
        if name not in shares:
            line = Line(name.replace("_", " "), 0, 0, *course(validation, name))
            yield _drawn(
                [line], f"{name} on validation over training steps", f"{line.name} on validation", log=is_steep(line.y)
            )


def _others(train: Sequence[dict[str, Any]], timing: Sequence[dict[str, Any]]) -> Iterator[str]:
    for key, rows, caption in (
        ("grad_norm", train, "norm of the gradient before clipping"),
        ("lr", train, "learning rate"),
        ("tokens_per_second", timing, "tokens per second"),
    ):
        line = Line(caption, 0, 0, *course(rows, key))
        log = key == "grad_norm" and is_steep(line.y)
        yield _drawn([line], f"{caption} over training steps", caption + (", logarithmic" if log else ""), log=log)


def _smoothed(rows: Sequence[dict[str, Any]], names: dict[str, str]) -> tuple[list[Line], int]:
    """The curves of some columns of the log, each behind its running mean; and the rows that the mean covers."""
    from lot.figure import smooth

    window, lines = usual_window(len(rows)), []
    for place, (key, name) in enumerate(names.items()):
        steps, values = course(rows, key)
        color = place % SERIES
        if window > 1:
            lines.append(Line(name, color, 0, steps, values, faint=True))
        lines.append(Line(name, color, dash_of(place), steps, smooth(values, window)))
    return lines, window


def _drawn(
    lines: Sequence[Line],
    label: str,
    caption: str,
    limits: tuple[float, float] | None = None,
    *,
    log: bool = False,
    axis: str = "step",
) -> str:
    """The figure of these curves with a legend where there are several; empty where there is no point."""
    drawn = curves(lines, label, limits, log=log, axis=axis)
    strong = [line for line in lines if not line.faint and line.x]
    if not drawn:
        return ""
    names = legend((line.name, line.color, line.dash) for line in strong) if len(strong) > 1 else ""
    return figure(names + drawn, caption + coinciding_words(strong))


def _evaluations(facts: RunFacts) -> Iterator[str]:
    if not facts.evaluations:
        return
    yield "<h2>Evaluated later</h2>"
    usual = facts.tree.get("task")
    usual = usual if isinstance(usual, dict) else {}
    rows = [
        (wording.asked(one, usual), _values(at(one, "metrics")), _values(at(one, "mechanism")))
        for one in facts.evaluations
    ]
    yield table([("asked", "wrap"), ("metrics", "wrap"), ("mechanism", "wrap")], escaped(rows), cards=True)
    lines = [
        Line(wording.asked(one, usual), place % SERIES, dash_of(place), *_by_position(one.get("loss_by_position")))
        for place, one in enumerate(facts.evaluations[:SERIES])
    ]
    if drawn := _drawn(lines, "loss over positions", "loss by position, nats per scored token", axis="position"):
        yield f'<div class="figures">{drawn}</div>'


def _harness(facts: RunFacts) -> Iterator[str]:
    if not facts.harness:
        return
    yield "<h2>Tasks of lm_eval</h2>"
    rows = []
    for one in facts.harness:
        told = {wording.lm_eval_metric(str(name)): value for name, value in table_of(one.get("metrics")).items()}
        rows.append((*wording.of_lm_eval(one), _values(told)))
    yield table([("task", "wrap"), ("asked", "wrap"), ("metrics", "wrap")], escaped(rows), cards=True)


def _by_position(losses: object) -> tuple[list[float], list[float]]:
    """Positions that are scored, from 0 on, and their losses."""
    known = losses if isinstance(losses, list) else []
    found = [(place, value) for place, value in enumerate(known) if is_drawable(value)]
    return [float(place) for place, _ in found], [value for _, value in found]


def _values(found: object) -> str:
    """Names and numbers, in a line."""
    told = found.items() if isinstance(found, dict) else ()
    return ", ".join(
        f"{name} {number(value if is_drawable(value) else None, absent='not finite')}" for name, value in told
    )
