"""A result as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from lot_cli.study.report import wording
from lot_cli.study.report.numbers import compact, interval, number, p_value, seconds, signed
from lot_cli.study.report.wording import Document


def to_markdown(document: Document) -> str:
    """The whole report; headings from the first level on."""
    return "\n".join(_lines(document)) + "\n"


def _lines(document: Document) -> Iterator[str]:
    fairness = document["fairness"]
    yield f"# {document['name']}"
    if document["question"]:
        yield from ("", document["question"])
    yield ""
    for reason in fairness["reasons"]:
        yield f"**UNFAIR:** {reason}  "
    for comparison in wording.main_comparisons(document):
        yield f"- **{wording.sentence(comparison, document['reference'])}**"
    if document["warnings"]:
        yield from ("", *(f"> Warning: {warning}  " for warning in document["warnings"]))

    yield from ("", f"## Against {document['reference']}", "")
    yield from _table(
        ("arm", "metric", "difference", "95 % interval", "p", "p (Holm)", "effect", "pairs", "verdict"),
        (
            (
                c["arm"],
                c["metric"] + (" ↑" if c["higher_is_better"] else " ↓"),
                signed(c["mean"]),
                interval(c["low"], c["high"]),
                p_value(c["p"]),
                p_value(c["p_holm"]),
                signed(c["effect"]),
                str(c["pairs"]),
                wording.verdict(c),
            )
            for c in document["comparisons"]
        ),
    )
    yield from ("", wording.tests_used(document), "", "## Arms", "")
    yield from _arms(document)
    yield from ("", "## Every seed", "")
    for metric in document["metrics"]:
        yield from _table((metric, *document["arms"]), wording.seed_rows(document, metric))
        yield ""
    if lost := [f"- {line}" for line in wording.lost_lines(document)]:
        yield from (*lost, "")
    yield from ("## What each arm is", "")
    yield from _table(("arm", "configuration"), wording.setup_rows(document))
    yield from ("", "## Fairness", "", *(f"- {line}" for line in wording.fairness_lines(document)))
    yield from _tuning(document)
    if document["claims"]:
        yield from ("", "## Published figures", "")
        yield from _table(
            ("arm", "metric", "published", "measured", "95 % interval", "source"),
            (
                (
                    claim["arm"],
                    claim["metric"],
                    number(claim["value"]),
                    number(claim["measured"]["mean"]),
                    interval(claim["measured"]["low"], claim["measured"]["high"], number),
                    claim["source"],
                )
                for claim in document["claims"]
            ),
        )
    if (registration := document["registration"]) is not None:
        yield from ("", "## Registration", "", f"Registered {registration['date']} under `{registration['hash']}`.", "")
        yield from (f"- hypothesis: {text}" for text in registration["hypotheses"])
        yield from (f"- **deviation:** {text}" for text in registration["deviations"])
    yield from ("", "## To repeat it", "", "```", document["command"], "```", "")
    yield from _table(("", ""), wording.environment_rows(document))


def _arms(document: Document) -> Iterator[str]:
    metrics = list(document["metrics"])
    parameters = {matched["arm"]: matched["parameters"] for matched in document["fairness"]["matched"]}
    yield from _table(
        ("arm", *metrics, "parameters", "time a step", "a run", "tokens/s", "FLOPs a token", "peak memory"),
        (
            (
                name,
                *(
                    f"{wording.mean(s)} {interval(s['low'], s['high'], number)}".strip()
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
        ),
    )
    yield from ("", wording.COST_NOTE)


def _tuning(document: Document) -> Iterator[str]:
    if not document["fairness"]["budget"]["tuning_runs"]:
        return
    yield from ("", "## Tuning, on validation", "")
    yield from _table(
        ("arm", "values", next(iter(document["metrics"])), "diverged", ""),
        (
            (
                name,
                wording.values(trial["values"]),
                number(trial["score"]),
                str(trial["diverged"]),
                "chosen" if trial["chosen"] else "",
            )
            for name, arm in document["arms"].items()
            for trial in arm["tuned"]["trials"]
        ),
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield "| " + " | ".join(head) + " |"
    yield "|" + " --- |" * len(head)
    for row in rows:
        yield "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |"
