"""How a result is said: verdicts, sentences and lines, the same in the terminal,
in Markdown and in HTML."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from lot.config.compare import leaves
from lot_cli.study.result import ClaimResult, Comparison, Result, Summary
from lot_cli.terminal.numbers import count, interval, number, p_equals, p_value, signed

COST_NOTE = (
    "The time per step is the median over the log rows of all runs; the time per run is the median of their training times. "
    "FLOPs are those that torch counts, forward and backward (operators that only a plugin knows count nothing). "
    "Memory is, on a CPU, what a step allocates beyond weights and optimizer state, and on a GPU the peak of a run."
)


def mean(summary: Summary) -> str:
    """The mean of an arm, and how many seeds it leaves out."""
    return number(summary.mean) + (f" ({summary.lost} lost)" if summary.lost else "")


def date(result: Result) -> str:
    """When the result was made: `2026-01-31 12:34 UTC`."""
    day, _, time = result.date.partition("T")
    return f"{day} {time[:5]} UTC"


def verdict(c: Comparison) -> str:
    """The verdict in a few words."""
    if c.verdict == "diverged":
        ours, theirs = c.diverged
        return f"no verdict: diverged {ours} : {theirs}"
    if c.verdict == "too few pairs":
        return f"{c.verdict}: no verdict"
    stamp = "" if c.fair else "UNFAIR: "
    if c.verdict == "equivalent":
        return f"{stamp}equivalent within ±{c.margin:g}"
    if c.negligible:
        return f"{stamp}{c.verdict}, by less than {c.margin:g}"
    return f"{stamp}{c.verdict}"


def short_verdict(c: Comparison) -> str:
    """The verdict without its margin, for a narrow table."""
    return verdict(c).partition(" within")[0].partition(": no verdict")[0]


def tone(c: Comparison) -> str:
    """The word that the color of a verdict goes by: `unfair` for one that is not fair,
    else the verdict."""
    return c.verdict if c.fair else "unfair"


def sentence(c: Comparison, reference: str) -> str:
    """One comparison as a sentence with its numbers."""
    numbers = facts(c)
    return conclusion(c, reference) + (f": {numbers}" if numbers else "")


def conclusion(c: Comparison, reference: str) -> str:
    """What may be said of one comparison, without its numbers."""
    arm = c.arm
    if c.mean is None:
        return f"{arm} and {reference} cannot be compared in {c.metric}: {count(c.pairs, 'pair')} left"
    stamp = "" if c.fair else "UNFAIR: "
    if c.asked:
        arm += f" (with other {', '.join(c.asked)}, as asked)"
    if c.verdict in ("better", "worse"):
        small = f", by less than the margin of {c.margin:g}" if c.negligible else ""
        return f"{stamp}{arm} is {c.verdict} than {reference} in {c.metric}{small}"
    if c.verdict == "equivalent":
        return f"{stamp}{arm} equals {reference} in {c.metric} within ±{c.margin:g}"
    if c.verdict == "diverged":
        ours, theirs = c.diverged
        return f"no verdict on {arm} in {c.metric}: it diverged in {count(ours, 'seed')}, {reference} in {theirs}"
    if c.verdict == "too few pairs":
        return f"no verdict on {arm} in {c.metric}, since there are too few pairs"
    return f"{stamp}no difference shown between {arm} and {reference} in {c.metric}"


def facts(c: Comparison) -> str:
    """The numbers of one comparison; empty where there are none."""
    if c.mean is None:
        return ""
    numbers = f"{signed(c.mean)} {interval(c.low, c.high)}, {c.pairs} pairs, {p_equals(c.p_holm)}"
    if c.verdict == "diverged":
        return f"over the other pairs {numbers}"
    if c.verdict == "equivalent":
        return f"{numbers}, {p_equals(c.p_equivalent, 'equivalence p')}"
    return numbers


def main_comparisons(result: Result) -> list[Comparison]:
    """The comparisons in the main metric."""
    return [c for c in result.comparisons if c.metric == result.main_metric]


def claim_line(claim: ClaimResult) -> str:
    """A published figure beside what was measured."""
    measured = claim.measured
    inside = {None: "", True: ", which holds it", False: ", which does not hold it"}[claim.inside]
    return (
        f"{claim.arm}, {claim.metric} {number(claim.value)} ({claim.source}); measured "
        f"{number(measured.mean)} {interval(measured.low, measured.high, number)}{inside}"
    )


def tests_used(result: Result) -> str:
    """How the numbers were made, in a few sentences."""
    reach = result.statistics
    bounded = [c for c in result.comparisons if c.margin is not None]
    equivalence = (
        f"Equivalence is shown by two one-sided t tests (TOST), corrected by Holm over {count(len(bounded), 'comparison')}. "
        if bounded
        else ""
    )
    return (
        f"Differences are arm − {result.reference} on the test split, paired by seed ({reach.seeds} seeds), each with its "
        "own 95 % t interval. p comes from the sign-flip permutation test (exact up to 14 pairs), corrected by Holm over "
        f"{count(reach.comparisons, 'comparison')} and judged at {reach.alpha:g}. {equivalence}The effect size is Hedges' g_z. "
        f"The smallest p that these seeds can reach is {p_value(reach.smallest_p)} ({p_value(reach.smallest_p_holm)} for "
        "the first of the corrected ones). All of it covers what differs from seed to seed, and no other task, text, size "
        "or budget."
    )


def setup_rows(result: Result) -> Iterator[tuple[str, str]]:
    """What every arm was given, and what each arm changes in it, by dotted path."""
    study = result.study
    for name, table in (("every arm", study.base), *study.arms.items()):
        yield name, values(dict(leaves(table or {}))) or "nothing else"


def seed_rows(result: Result, metric: str) -> Iterator[tuple[str, ...]]:
    """For each seed, its name and the value of every arm."""
    states = {(row.arm, row.seed): row.state for row in result.runs}
    for place, seed in enumerate(result.seeds):
        cells = []
        for name, arm in result.arms.items():
            state, value = states[name, seed], arm.scores[metric][place]
            cells.append(number(value, absent=state if state != "complete" else "not finite"))
        yield (f"seed {seed}", *cells)


def lost_lines(result: Result) -> Iterator[str]:
    """A line for each run that diverged."""
    for row in result.runs:
        if row.message:
            yield f"{row.arm}, seed {row.seed}: {row.state}, {row.message}"


def fairness_lines(result: Result) -> Iterator[str]:
    """What every arm had, and what differs, a line each."""
    found = result.fairness
    budget = found.budget
    tuning = f"{count(budget.tuning_runs, 'tuning run')} on validation" if budget.tuning_runs else "no tuning"
    spent = f"{budget.steps:,} steps x {budget.tokens_per_step:,} tokens, {budget.seeds} seeds, {tuning}"
    yield f"Every arm: {spent}; the same data and batches." if found.fair else f"The reference: {spent}."
    for matched in found.matched:
        change = f"MLP width {matched.hidden}"
        if matched.hidden != matched.hidden_before:
            change = f"MLP width {matched.hidden_before} → {matched.hidden} (was {matched.parameters_before:,})"
        yield f"{matched.arm}: {matched.parameters:,} parameters ({matched.difference:+.2%}), {change}"
    for arm, initial in found.initial.items():
        yield f"{arm}: {initial.shared} of {initial.of} tensors begin with the values of the reference"
    for asked in found.asked:
        yield f"asked for: {asked.arm}: {asked.difference} ({asked.why})"


def environment_rows(result: Result) -> Iterator[tuple[str, str]]:
    """What the runs ran on."""
    environment = result.environment
    if environment is None:
        return
    for key in ("device", "torch", "cuda", "python", "system"):
        if value := getattr(environment, key):
            yield key, value
    for name, package in environment.plugins.items():
        yield name, package.version + (f" ({package.commit})" if package.commit else "")


def values(chosen: Mapping[str, Any]) -> str:
    """Values by path: `optim.lr = 0.001`."""
    return ", ".join(
        f"{path} = {value if isinstance(value, str) else json.dumps(value)}" for path, value in chosen.items()
    )
