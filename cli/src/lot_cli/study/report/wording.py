"""How a result is said, in the terminal, in Markdown and in HTML alike: numbers, intervals, verdicts. Plain data in, text out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from lot_cli.study.design.file import leaves
from lot_cli.study.report.numbers import count, interval, number, p_equals, p_value, signed

FORMAT = 1
"""Of study.json: a number that grows when a key goes or changes its meaning."""
Document = dict[str, Any]
"""study.json. Its keys:

format, name, question, command, date, reference (an arm); study (the file, grids expanded) and its `digest`;
metrics (name -> whether higher is better, the main one first) and seeds;
fairness: fair, reasons, asked, matched (parameters of each arm), initial (weights), budget, leaks;
statistics: what the number of seeds can show;
arms: name -> config of its first run, scores (metric -> a value a seed, null where it diverged), summary, curves, cost, tuned;
runs: arm, seed, key (its directory under runs/), state, message, best_step, steps;
comparisons: `lot_cli.study.analysis.Comparison`, whether it is fair, and the paths in which the file asks for a difference
(asked), one for each arm but the reference and each metric;
claims, registration (null without one), earlier (results on some of these runs), environment, warnings.
"""


def mean(summary: dict[str, Any]) -> str:
    """The mean of an arm, and how many seeds it leaves out."""
    return number(summary["mean"]) + (f" ({summary['lost']} lost)" if summary["lost"] else "")


def date(document: Document) -> str:
    """When the result was made: `2026-01-31 12:34 UTC`."""
    day, _, time = document["date"].partition("T")
    return f"{day} {time[:5]} UTC"


def verdict(comparison: dict[str, Any]) -> str:
    """The verdict in a few words."""
    word: str = comparison["verdict"]
    if word == "diverged":
        ours, theirs = comparison["diverged"]
        return f"no verdict: diverged {ours} : {theirs}"
    if word == "too few pairs":
        return f"{word}: no verdict"
    stamp = "" if comparison["fair"] else "UNFAIR: "
    if word == "equivalent":
        return f"{stamp}equivalent within ±{comparison['margin']:g}"
    if comparison["negligible"]:
        return f"{stamp}{word}, by less than {comparison['margin']:g}"
    return f"{stamp}{word}"


def short_verdict(comparison: dict[str, Any]) -> str:
    """The verdict without its margin, for a narrow table."""
    return verdict(comparison).partition(" within")[0].partition(": no verdict")[0]


def tone(comparison: dict[str, Any]) -> str:
    """The verdict as a color goes by: none for one that is not fair."""
    return str(comparison["verdict"]) if comparison["fair"] else "unfair"


def sentence(comparison: dict[str, Any], reference: str) -> str:
    """One comparison as a sentence with its numbers."""
    numbers = facts(comparison)
    return conclusion(comparison, reference) + (f": {numbers}" if numbers else "")


def conclusion(comparison: dict[str, Any], reference: str) -> str:
    """What may be said of one comparison, without its numbers."""
    arm, metric, word = comparison["arm"], comparison["metric"], comparison["verdict"]
    if comparison["mean"] is None:
        return f"{arm} and {reference} cannot be compared in {metric}: {count(comparison['pairs'], 'pair')} left"
    stamp = "" if comparison["fair"] else "UNFAIR: "
    if comparison.get("asked"):  # reports of before it was kept lack it
        arm += f" (with other {', '.join(comparison['asked'])}, as asked)"
    if word in ("better", "worse"):
        small = f", by less than the margin of {comparison['margin']:g}" if comparison["negligible"] else ""
        return f"{stamp}{arm} is {word} than {reference} in {metric}{small}"
    if word == "equivalent":
        return f"{stamp}{arm} equals {reference} in {metric} within ±{comparison['margin']:g}"
    if word == "diverged":
        ours, theirs = comparison["diverged"]
        return f"no verdict on {arm} in {metric}: it diverged in {count(ours, 'seed')}, {reference} in {theirs}"
    if word == "too few pairs":
        return f"no verdict on {arm} in {metric}, for want of pairs"
    return f"{stamp}no difference shown between {arm} and {reference} in {metric}"


def facts(comparison: dict[str, Any]) -> str:
    """The numbers of one comparison; nothing where there are none."""
    if comparison["mean"] is None:
        return ""
    numbers = (
        f"{signed(comparison['mean'])} {interval(comparison['low'], comparison['high'])}, "
        f"{comparison['pairs']} pairs, {p_equals(comparison['p_holm'])}"
    )
    if comparison["verdict"] == "diverged":
        return f"over the other pairs {numbers}"
    if comparison["verdict"] == "equivalent":
        return f"{numbers}, {p_equals(comparison['p_equivalent'], 'equivalence p')}"
    return numbers


def power_warning(reach: dict[str, Any]) -> str | None:
    """One line: what this number of seeds cannot show, and how many could; None where it can show a difference."""
    if reach["enough"]:
        return None
    number, over = count(reach["seeds"], "seed"), count(reach["comparisons"], "comparison")
    could = f"{reach['needed']} seeds could" if reach["needed"] else "no number of seeds could: ask fewer questions"
    return (
        f"{number} cannot show a difference: the smallest p is {reach['smallest_p']:.3g}, and "
        f"{reach['smallest_p_holm']:.3g} over {over}, above {reach['alpha']:g}; {could}"
    )


def main_comparisons(document: Document) -> list[dict[str, Any]]:
    """The comparisons in the main metric."""
    main = next(iter(document["metrics"]))
    return [comparison for comparison in document["comparisons"] if comparison["metric"] == main]


def tests_used(document: Document) -> str:
    """One sentence on how the numbers were made."""
    facts = document["statistics"]
    bounded = [c for c in document["comparisons"] if c["margin"] is not None]
    equivalence = (
        f"equivalence by two one-sided t tests (TOST), corrected by Holm over {count(len(bounded), 'comparison')}; "
        if bounded
        else ""
    )
    return (
        f"Differences are arm − {document['reference']} on the test split, paired by seed ({facts['seeds']} seeds), each with its "
        "own 95 % t interval; p from the sign-flip permutation test (exact up to 14 pairs), corrected by Holm over "
        f"{count(facts['comparisons'], 'comparison')} and judged at {facts['alpha']:g}; {equivalence}effect size Hedges' g_z. "
        f"The smallest p that these seeds can reach is {p_value(facts['smallest_p'])} ({p_value(facts['smallest_p_holm'])} for "
        "the first of the corrected ones). All of it covers what differs from seed to seed, and no other task, text, size or "
        "budget."
    )


def setup_rows(document: Document) -> Iterator[tuple[str, str]]:
    """What every arm was given, and what each arm changes in it, by dotted path."""
    study = document["study"]
    for name, table in (("every arm", study["base"]), *study["arms"].items()):
        yield name, values(dict(leaves(table))) or "nothing else"


def seed_rows(document: Document, metric: str) -> Iterator[tuple[str, ...]]:
    """For each seed, its name and the value of every arm."""
    columns = [arm["scores"][metric] for arm in document["arms"].values()]
    states = {(row["arm"], row["seed"]): row["state"] for row in document["runs"]}
    for place, seed in enumerate(document["seeds"]):
        cells = (
            number(column[place]) if column[place] is not None else _lost(states[name, seed])
            for name, column in zip(document["arms"], columns, strict=True)
        )
        yield (f"seed {seed}", *cells)


def _lost(state: str) -> str:
    return state if state != "complete" else "not finite"


def lost_lines(document: Document) -> Iterator[str]:
    """A line for each run that diverged."""
    for row in document["runs"]:
        if row["message"]:
            yield f"{row['arm']}, seed {row['seed']}: {row['state']}, {row['message']}"


def fairness_lines(document: Document) -> Iterator[str]:
    """What every arm had, and what differs, a line each."""
    found = document["fairness"]
    budget = found["budget"]
    tuning = (
        f", and {count(budget['tuning_runs'], 'tuning run')} on validation" if budget["tuning_runs"] else ", no tuning"
    )
    yield (
        f"Every arm: {budget['steps']:,} steps x {budget['tokens_per_step']:,} tokens, {budget['seeds']} seeds{tuning}; "
        f"the same data and batches."
        if found["fair"]
        else f"The reference: {budget['steps']:,} steps x {budget['tokens_per_step']:,} tokens, {budget['seeds']} seeds{tuning}."
    )
    for matched in found["matched"]:
        change = (
            f"MLP width {matched['hidden_before']} → {matched['hidden']} (was {matched['parameters_before']:,})"
            if matched["hidden"] != matched["hidden_before"]
            else f"MLP width {matched['hidden']}"
        )
        yield f"{matched['arm']}: {matched['parameters']:,} parameters ({matched['difference']:+.2%}), {change}"
    for arm, initial in found["initial"].items():
        yield f"{arm}: {initial['shared']} of {initial['of']} tensors begin with the values of the reference"
    for asked in found["asked"]:
        yield f"asked for: {asked['arm']}: {asked['difference']} ({asked['why']})"


def environment_rows(document: Document) -> Iterator[tuple[str, str]]:
    """What the runs ran on."""
    facts = document["environment"] or {}
    for key in ("device", "torch", "cuda", "python", "system"):
        if facts.get(key):
            yield key, str(facts[key])
    for name, plugin in facts.get("plugins", {}).items():
        yield name, plugin["version"] + (f" ({plugin['commit']})" if plugin["commit"] else "")


def values(chosen: dict[str, Any]) -> str:
    """Values by path: `optim.lr = 0.001`."""
    return ", ".join(
        f"{path} = {value if isinstance(value, str) else json.dumps(value)}" for path, value in chosen.items()
    )


COST_NOTE = (
    "Time a step is the median over log rows of all runs; a run is the median time of training. FLOPs are those that torch "
    "counts, forward and backward (operators that only a plugin knows count nothing). Memory: on a CPU, what a step "
    "allocates beyond weights and optimizer state; on a GPU, the peak of a run."
)
