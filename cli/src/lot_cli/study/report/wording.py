"""How a result is said: verdicts, sentences and lines, the same in the terminal,
in Markdown and in HTML."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from lot.config.compare import leaves
from lot_cli.study.design.fairness import Paced
from lot_cli.study.design.matching import IN_WORDS
from lot_cli.study.report.passports import BEFORE, told
from lot_cli.study.result import ClaimResult, Comparison, Result, Summary
from lot_cli.terminal.numbers import count, interval, number, p_equals, p_value, signed

IN_NATS = ("loss",)
"""Metrics that every task gives in nats per scored token."""

COUNTED = (
    "FLOPs are counted by one rule for all arms, forward and backward: 2 for a multiply-add, 1 for each elementwise result and "
    "for each number that a sum reads; attention counts all pairs."
)
COUNTED_BEFORE = (
    "FLOPs are the products of matrices that torch counts, forward and backward: neither elementwise functions, nor fused "
    "attention on a CPU, nor operators that only a plugin knows."
)


def cost_note(result: Result) -> str:
    """What the columns of the cost table mean, in the rule by which this result was counted."""
    by_this_rule = all(arm.cost.uncounted is not None for arm in result.arms.values())
    return (
        "The time per step is the median over the log rows of all runs; the time per run is the median of their training "
        f"times. {COUNTED if by_this_rule else COUNTED_BEFORE} "
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
    if c.verdict in ("too few pairs", "looks unknown", "no passport", "alpha spent"):
        return f"{c.verdict}: no verdict"
    if c.verdict == "leak":
        return "LEAK: no verdict"
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


def sentence(c: Comparison) -> str:
    """One comparison as a sentence with its numbers."""
    numbers = facts(c)
    return conclusion(c) + (f": {numbers}" if numbers else "")


def conclusion(c: Comparison) -> str:
    """What may be said of one comparison, without its numbers."""
    arm, against = c.arm, c.against
    if c.void:
        return f"no verdict on {arm} in {c.metric}, since {c.void}"
    if c.mean is None and c.verdict != "diverged":
        return f"{arm} and {against} cannot be compared in {c.metric}: {count(c.pairs, 'pair')} left"
    stamp = "" if c.fair else "UNFAIR: "
    spent = f" at {IN_WORDS[c.budget]}" if c.budget != "steps" else ""
    if c.asked:
        arm += f" (with other {', '.join(c.asked)}, as asked)"
    if c.verdict in ("better", "worse"):
        small = f", by less than the margin of {c.margin:g}" if c.negligible else ""
        return f"{stamp}{arm} is {c.verdict} than {against} in {c.metric}{spent}{small}"
    if c.verdict == "equivalent":
        return f"{stamp}{arm} equals {against} in {c.metric}{spent} within ±{c.margin:g}"
    if c.verdict == "diverged":
        ours, theirs = c.diverged
        return f"no verdict on {arm} in {c.metric}: it diverged in {count(ours, 'seed')}, {against} in {theirs}"
    if c.verdict == "too few pairs":
        return f"no verdict on {arm} in {c.metric}, since there are too few pairs"
    if c.verdict == "alpha spent":
        return f"no verdict on {arm} in {c.metric}, since the planned looks spend all of alpha"
    if c.verdict == "looks unknown":
        return f"no verdict on {arm} in {c.metric}, since the record of earlier looks is gone or broken"
    return f"{stamp}no difference shown between {arm} and {against} in {c.metric}{spent}"


def facts(c: Comparison) -> str:
    """The numbers of one comparison; empty where there are none."""
    if c.mean is None:
        return ""
    numbers = f"{signed(c.mean)} {interval_of(c)}, {pairs(c)} pairs, {p_equals(c.p_adjusted)}"
    if ratio := perplexity_ratio(c):
        numbers += f", perplexity {ratio}"
    if any(c.diverged):
        ours, theirs = c.diverged
        total = c.pairs + c.scored
        finished = f"{c.arm} finished {total - ours} of {total} seeds, {c.against} {total - theirs}"
        alone = "" if c.mean_finishing is None else f"; over the finishing pairs {signed(c.mean_finishing)}"
        return f"{numbers} ({finished}{alone})"
    if c.verdict == "equivalent":
        return f"{numbers}, {p_equals(c.p_equivalent, 'equivalence p')}"
    return numbers


def interval_of(c: Comparison) -> str:
    """The interval of a comparison; `scored` where lost runs have a place in it."""
    ends = "[unbounded]" if c.mean is not None and c.low is None else interval(c.low, c.high)
    return f"{ends} scored" if c.scored else ends


def pairs(c: Comparison) -> str:
    """The number of pairs that have both values, and of those that are scored."""
    return f"{c.pairs} + {c.scored} scored" if c.scored else str(c.pairs)


def perplexity_ratio(c: Comparison) -> str:
    """exp of a difference in nats: by what the perplexity of the arm is that of the other one, as in `x 0.945`.
    Empty for a metric that is not in nats."""
    if c.metric not in IN_NATS or c.mean is None or abs(c.mean) > 50:
        return ""
    return f"x {math.exp(c.mean):.3g}"


def pair_of(c: Comparison) -> str:
    """Both arms of a comparison."""
    return f"{c.arm} − {c.against}"


def name_of(c: Comparison, result: Result) -> str:
    """What a table calls a comparison: the arm alone where all of them are against one and the same arm."""
    return c.arm if against(result) else pair_of(c)


def against(result: Result) -> str:
    """The arm that all comparisons are against; empty where there are several."""
    others = {c.against for c in result.comparisons}
    return others.pop() if len(others) == 1 else ""


def heading(result: Result) -> str:
    """The title of the comparisons."""
    return f"Against {against(result)}" if against(result) else "Contrasts"


def interval_title(result: Result) -> str:
    """What an interval of a comparison is called."""
    level = result.looks.level if result.looks is not None and result.looks.known else 0.05
    if level <= 0:
        return "interval"  # it is unbounded
    return f"{100 * (1 - level):.3g} % interval"


def main_comparisons(result: Result) -> list[Comparison]:
    """The comparisons in the main metric."""
    return [c for c in result.comparisons if c.metric == result.main_metric]


def caveats(result: Result) -> list[str]:
    """What explains the result to those who read its page alone: the words of the file, and positions that differ."""
    return [*result.study.caveats, *_of_positions(result)]


def _of_positions(result: Result) -> Iterator[str]:
    """A line for each contrast whose arms encode positions in different ways, with the arms that would tell the two apart."""
    positions = {name: arm.config.get("model", {}).get("positions") for name, arm in result.arms.items()}
    mechanisms = {name: arm.config.get("attn", {}).get("name") for name, arm in result.arms.items()}
    for c in main_comparisons(result):
        ours, theirs = positions[c.arm], positions[c.against]
        if ours == theirs:
            continue
        alike = [
            name
            for name in result.arms
            if (positions[name], mechanisms[name]) == (ours, mechanisms[c.against]) and ",time=" not in name
        ]
        fair = f"compare it with {alike[0]}" if alike else f"{mechanisms[c.against]} with {ours} positions was not run"
        yield (
            f"{c.arm} has {ours} positions and {c.against} has {theirs} ones: their difference is that of the mechanisms and "
            f"of the positions; {fair}"
        )


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
    rows = max((c.examples or 0 for c in result.comparisons), default=0)
    examples = (
        f"± over examples is the standard error of a difference over the {rows:,} test examples (of a larger split, groups of "
        "neighbors), with the models as they were trained: seeds generalize over training, examples over data. "
        if rows
        else ""
    )
    how = _by_earlier_rule(result) if result.rule == "Holm" else _by_max_t(result)
    return (
        f"{how} {equivalence}{examples}The effect size is Hedges' g_z. The smallest p that these seeds can reach is "
        f"{p_value(reach.smallest_p)}. All of it covers what differs from seed to seed, and no other task, text, size or "
        "budget."
    )


def _by_max_t(result: Result) -> str:
    reach = result.statistics
    second = against(result) or "the second arm"
    scored = (
        "A pair in which one run diverged is scored with the largest finite difference, against the arm that diverged. "
        if any(c.scored for c in result.comparisons)
        else ""
    )
    return (
        f"Differences are arm − {second} on the test split, paired by seed ({reach.seeds} seeds). p and intervals come from "
        f"the same joint sign flips of the pairs (studentized max-T, exact up to 20 pairs) over "
        f"{count(reach.comparisons, 'comparison')}: 0 lies outside an interval exactly where a difference is shown, at "
        f"p ≤ {reach.alpha:.3g}. The hypothesis is that the two arms are exchangeable. This is exact where differences are "
        f"jointly symmetric; approximate with a shared reference and skewed noise. {scored}{looks_line(result)}"
    ).strip()


def _by_earlier_rule(result: Result) -> str:
    reach = result.statistics
    return (
        f"Judged by the earlier rule. Differences are arm − {result.reference} on the test split, paired by seed "
        f"({reach.seeds} seeds), each with its own 95 % t interval. p comes from the sign-flip permutation test (exact up to "
        f"14 pairs), corrected by Holm over {count(reach.comparisons, 'comparison')} and judged at {reach.alpha:g}."
    )


def looks_line(result: Result) -> str:
    """Which look this is, and what it may spend; empty for the only look of a file that plans it."""
    looks = result.looks
    if looks is None:
        return ""
    if not looks.known:
        return "Looks unknown: the record of earlier looks is gone or broken, so there is no verdict."
    alpha = result.study.alpha
    if looks.number == 1 and len(looks.plan) == 1:
        if looks.spends >= 1 or not result.statistics.enough:
            return ""
        return (
            f"The file names no looks: this one has {looks.level:.3g} of {alpha:g}, and the rest is for looks that are not "
            f"planned (looks: {looks.plan} gives it all of {alpha:g}, and later ones nothing)."
        )
    planned = ", ".join(map(str, looks.plan))
    line = f"This is look {looks.number}; looks at {planned} pairs were planned."
    if not looks.planned and looks.level <= 0:
        return f"{line} This one was not, and the plan spends all of {alpha:g}: there is no verdict."
    if not looks.planned:
        return f"{line} This one was not, so that a difference needs p ≤ {looks.level:.3g}."
    spent = f"{line} Up to this one {looks.level:.3g} of {alpha:g} may be spent, and p counts earlier looks."
    later = [pairs for pairs in looks.plan if pairs > len(result.seeds)]
    return f"{spent} The same command goes on to {later[0]} pairs." if later else spent


def doubts(result: Result) -> list[str]:
    """What a reader should hold against the result, beside unfairness."""
    before = all(arm.passport is None for arm in result.arms.values())
    return [*result.warnings, *([BEFORE] if before else [])]


def setup_rows(result: Result) -> Iterator[tuple[str, str]]:
    """What every arm was given, and what each arm changes in it, by dotted path."""
    study = result.study
    for name, table in (("every arm", study.base), *study.arms.items()):
        arm = result.arms.get(name)
        notes = list(told(arm.passport)) if arm is not None and arm.passport is not None else []
        yield name, "; ".join((values(dict(leaves(table or {}))) or "nothing else", *notes))
    for paced in result.fairness.paced:
        if paced.sibling:
            yield paced.arm, f"{paced.arm.partition(',time=')[0]}, train.steps = {paced.steps}"


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
    alike = found.fair and not found.paced
    yield f"Every arm: {spent}; the same data and batches." if alike else f"The reference: {spent}."
    for paced in found.paced:
        yield paced_line(paced)
    for matched in found.matched:
        change = f"MLP width {matched.hidden}"
        if matched.hidden != matched.hidden_before:
            change = f"MLP width {matched.hidden_before} → {matched.hidden} (was {matched.parameters_before:,})"
        yield f"{matched.arm}: {matched.parameters:,} parameters ({matched.difference:+.2%}), {change}"
    for arm, initial in found.initial.items():
        yield f"{arm}: {initial.shared} of {initial.of} tensors begin with the values of the reference"
    for asked in found.asked:
        yield f"asked for: {asked.arm}: {asked.difference} ({asked.why})"


def paced_line(paced: Paced) -> str:
    """How many steps an arm made so that it costs what another does, and how that was found."""
    what = "takes" if paced.by == "time" else "counts"
    bounds = interval(paced.low, paced.high, lambda end: f"{end:.4g}")
    processes = "one process" if paced.processes == 1 else f"{paced.processes} processes"
    rounds = f"{count(paced.rounds, 'round')} of timed blocks in {processes}"
    timed = f", {rounds} on {paced.machine}" if paced.rounds else ", counted"
    step = paced.arm.partition(",time=")[0] if paced.sibling else paced.arm
    return (
        f"{paced.arm}: {paced.steps:,} steps, which cost the {'time' if paced.by == 'time' else 'FLOPs'} of "
        f"{paced.against_steps:,} of {paced.against} (a step of {step} {what} {paced.ratio:.4g} {bounds} times that of "
        f"{paced.against}{timed})"
    ).replace("  ", " ")


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
