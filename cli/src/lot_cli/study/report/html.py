"""A result as one HTML page that needs nothing else: no network, no script; light and dark, a phone's width, paper."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape
from importlib import resources
from typing import Any

from lot_cli.study.report import svg, wording
from lot_cli.study.report.numbers import compact, count, interval, number, p_value, seconds, signed
from lot_cli.study.report.wording import Document

SERIES = 11
"""Colors that the style sheet defines; the reference has the first."""


def to_html(document: Document) -> str:
    """The page."""
    style = (resources.files("lot_cli.study.report") / "report.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(document['name'])}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        + "\n".join(_body(document))
        + "\n</body>\n</html>\n"
    )


def _body(document: Document) -> Iterator[str]:
    colors = _colors(document)
    yield f"<header><h1>{escape(document['name'])}</h1>"
    if document["question"]:
        yield f"<p>{escape(document['question'])}</p>"
    yield f'<p class="faint">{len(document["arms"])} arms, {len(document["seeds"])} seeds, {wording.date(document)}</p></header>'
    yield from _verdicts(document)
    yield f"<h2>Against {escape(document['reference'])}</h2>"
    yield _comparisons(document, colors)
    yield f'<p class="small">{escape(wording.tests_used(document))}</p>'
    yield from _figures(document, colors)
    yield "<h2>Arms and what they cost</h2>"
    yield _arms(document)
    yield f'<p class="small">{escape(wording.COST_NOTE)}</p>'
    yield "<h2>What each arm is</h2>"
    rows = ((escape(name), escape(text)) for name, text in wording.setup_rows(document))
    yield _table([("arm", ""), ("configuration", "wrap")], rows, cards=True)
    yield "<h2>Fairness</h2>"
    yield _list(wording.fairness_lines(document))
    yield from _initial(document)
    yield from _tuning(document)
    yield from _claims(document)
    yield from _registration(document)
    yield "<h2>Every seed</h2>"
    for metric in document["metrics"]:
        head = [(metric, ""), *((name, "n") for name in document["arms"])]
        yield _table(head, ([escape(cell) for cell in row] for row in wording.seed_rows(document, metric)))
    if lost := list(wording.lost_lines(document)):
        yield _list(lost)
    yield f"<h2>To repeat it</h2><pre>{escape(document['command'])}</pre>"
    yield _table([("", ""), ("", "wrap")], ((escape(k), escape(v)) for k, v in wording.environment_rows(document)))


def _verdicts(document: Document) -> Iterator[str]:
    reasons = document["fairness"]["reasons"]
    if reasons:
        yield f'<div class="stamp"><strong>UNFAIR</strong>{_list(reasons)}</div>'
    items = (
        f'<li class="{_class(c)}"><b>{escape(wording.conclusion(c, document["reference"]))}</b> '
        f"<span>{escape(wording.facts(c))}</span></li>"
        for c in wording.main_comparisons(document)
    )
    yield f'<ul class="verdicts">{"".join(items)}</ul>'
    if document["warnings"]:
        yield f'<div class="warnings">{_list(document["warnings"])}</div>'


def _comparisons(document: Document, colors: dict[str, int]) -> str:
    spans = {
        metric: max(
            [
                abs(edge)
                for c in document["comparisons"]
                if c["metric"] == metric
                for edge in (c["low"], c["high"], c["margin"])
                if edge is not None
            ],
            default=0.0,
        )
        or 1.0
        for metric in document["metrics"]
    }

    def row(c: dict[str, Any]) -> tuple[str, ...]:
        drawn = (
            svg.difference(
                c["mean"],
                c["low"],
                c["high"],
                1.05 * spans[c["metric"]],
                c["margin"],
                colors[c["arm"]],
                f"{c['arm']} in {c['metric']}",
            )
            if c["mean"] is not None
            else ""
        )
        return (
            escape(c["arm"]),
            escape(c["metric"]) + (" ↑" if c["higher_is_better"] else " ↓"),
            f'<b class="{_class(c)}">{escape(wording.verdict(c))}</b>',
            signed(c["mean"]),
            interval(c["low"], c["high"]),
            drawn,
            p_value(c["p"]),
            p_value(c["p_holm"]),
            signed(c["effect"]),
            str(c["pairs"]),
        )

    head = [("arm", ""), ("metric", ""), ("verdict", ""), ("difference", "n"), ("95 % interval", ""), ("", "drawn")]
    head += [("p", "n"), ("p (Holm)", "n"), ("effect", "n"), ("pairs", "n")]
    return _table(head, map(row, document["comparisons"]), cards=True)


def _figures(document: Document, colors: dict[str, int]) -> Iterator[str]:
    legend = "".join(f'<li><i class="series-{colors[name]}"></i>{escape(name)}</li>' for name in document["arms"])
    yield f'<h2>Every seed, and learning</h2><ul class="legend">{legend}</ul><div class="figures">'
    for metric in document["metrics"]:
        name = escape(metric.replace("_", " "))
        arms = [(arm, colors[arm], facts["scores"][metric]) for arm, facts in document["arms"].items()]
        if drawn := svg.points(arms, document["seeds"], metric):
            yield f"<figure><figcaption>{name} on test; a line joins the runs of one seed</figcaption>{drawn}</figure>"
        series = [
            svg.Curve(
                arm, colors[arm], **{key: facts["curves"][metric][key] for key in ("steps", "mean", "low", "high")}
            )
            for arm, facts in document["arms"].items()
        ]
        share = all(0 <= value <= 1 for curve in series for value in curve.mean)
        if drawn := svg.curves(series, metric, (0.0, 1.0) if share else None):
            yield f"<figure><figcaption>{name} on validation; mean and 95 % t interval</figcaption>{drawn}</figure>"
    yield "</div>"


def _arms(document: Document) -> str:
    metrics = list(document["metrics"])
    parameters = {matched["arm"]: matched["parameters"] for matched in document["fairness"]["matched"]}
    head = [
        ("arm", ""),
        *((metric, "n") for metric in metrics),
        ("parameters", "n"),
        ("time a step", "n"),
        ("a run", "n"),
    ]
    head += [("tokens/s", "n"), ("FLOPs a token", "n"), ("peak memory", "n")]
    rows = (
        (
            escape(name),
            *(
                f"{wording.mean(s)} <span class='faint'>{interval(s['low'], s['high'], number)}</span>"
                for s in (arm["summary"][metric] for metric in metrics)
            ),
            f"{parameters[name]:,}",
            seconds(arm["cost"]["seconds_per_step"]),
            seconds(arm["cost"]["seconds_per_run"]),
            compact(arm["cost"]["tokens_per_second"]),
            compact(arm["cost"]["flops_per_token"]),
            compact(arm["cost"]["peak_bytes"], "B"),
        )
        for name, arm in document["arms"].items()
    )
    return _table(head, rows, cards=True)


def _initial(document: Document) -> Iterator[str]:
    for arm, initial in document["fairness"]["initial"].items():
        if initial["rest"]:
            lines = (f"{name}: {why}" for name, why in initial["rest"].items())
            yield (
                f"<details><summary>{escape(arm)}: {count(len(initial['rest']), 'tensor')} not as in the reference at the "
                f"start</summary>{_list(lines)}</details>"
            )


def _tuning(document: Document) -> Iterator[str]:
    if document["fairness"]["budget"]["tuning_runs"]:
        yield "<h2>Tuning, on validation</h2>"
        yield _table(
            [("arm", ""), ("values", "wrap"), (next(iter(document["metrics"])), "n"), ("diverged", "n"), ("", "")],
            (
                (
                    escape(name),
                    escape(wording.values(trial["values"])),
                    number(trial["score"]),
                    str(trial["diverged"]),
                    "<b>chosen</b>" if trial["chosen"] else "",
                )
                for name, arm in document["arms"].items()
                for trial in arm["tuned"]["trials"]
            ),
        )


def _claims(document: Document) -> Iterator[str]:
    if document["claims"]:
        yield "<h2>Published figures</h2>"
        yield _table(
            [
                ("arm", ""),
                ("metric", ""),
                ("published", "n"),
                ("measured", "n"),
                ("95 % interval", ""),
                ("source", "wrap"),
            ],
            (
                (
                    escape(claim["arm"]),
                    escape(claim["metric"]),
                    number(claim["value"]),
                    number(claim["measured"]["mean"]),
                    interval(claim["measured"]["low"], claim["measured"]["high"], number),
                    escape(claim["source"]),
                )
                for claim in document["claims"]
            ),
        )


def _registration(document: Document) -> Iterator[str]:
    registration = document["registration"]
    if registration is None:
        return
    yield f"<h2>Registration</h2><p>Registered {registration['date']} under <code>{registration['hash'][:16]}</code>.</p>"
    yield _list(f"hypothesis: {text}" for text in registration["hypotheses"])
    if registration["deviations"]:
        yield f'<div class="warnings"><p>Deviations</p>{_list(registration["deviations"])}</div>'
    else:
        yield "<p>No deviation.</p>"


def _colors(document: Document) -> dict[str, int]:
    """A series for each arm: 0 for the reference, then one after the other."""
    others = [name for name in document["arms"] if name != document["reference"]]
    return {document["reference"]: 0, **{name: 1 + index % (SERIES - 1) for index, name in enumerate(others)}}


def _class(comparison: dict[str, Any]) -> str:
    return wording.tone(comparison).replace(" ", "-")


def _list(lines: Iterable[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>"


def _table(head: Sequence[tuple[str, str]], rows: Iterable[Sequence[str]], *, cards: bool = False) -> str:
    """A table that scrolls by itself; head: title and class of each column. Cells are HTML already.

    cards: on a narrow screen each row becomes a card, in which every cell names its column.
    """
    classes = [f' class="{kind}"' if kind else "" for _, kind in head]
    names = [f' data-name="{escape(title)}"' if cards and title else "" for title, _ in head]
    top = "".join(f"<th{kind}>{escape(title)}</th>" for (title, _), kind in zip(head, classes, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{k}{n}>{cell}</td>" for cell, k, n in zip(row, classes, names, strict=True)) + "</tr>"
        for row in rows
    )
    kind = "scroll cards" if cards else "scroll"
    return f'<div class="{kind}"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'
