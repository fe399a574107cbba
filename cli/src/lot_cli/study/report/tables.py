"""The tables that Markdown and HTML share: their column titles, and their cells as plain text."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from lot_cli.study.report import wording
from lot_cli.study.result import Comparison, Result, Summary
from lot_cli.terminal.numbers import DASH, compact, interval, number, p_value, seconds, signed

Rows = Iterator[tuple[str, ...]]

COST_TITLES = ("parameters", "time per step", "time per run", "tokens/s", "FLOPs per token", "peak memory")
TEST_TITLES = ("p", "p adjusted", "effect", "perplexity", "± over examples", "won : lost", "pairs")
CLAIM_TITLES = ("arm", "metric", "published", "measured", "95 % interval", "source")


def metric_cell(c: Comparison) -> str:
    """The metric of a comparison, with an arrow that points to the better side."""
    return f"{c.metric} {'↑' if c.higher_is_better else '↓'}"


def difference_cells(c: Comparison) -> tuple[str, str]:
    """The mean difference, and its interval."""
    return signed(c.mean), wording.interval_of(c)


def test_cells(c: Comparison) -> tuple[str, ...]:
    """What stands under `TEST_TITLES`."""
    won = DASH if c.wins is None else f"{c.wins[0]} : {c.wins[1]}"
    ratio = wording.perplexity_ratio(c) or DASH
    examples = DASH if c.example_error is None else f"{c.example_error:.2g}"
    return p_value(c.p), p_value(c.p_adjusted), effect_cell(c), ratio, examples, won, wording.pairs(c)


def comparison_row(result: Result, c: Comparison) -> tuple[str, ...]:
    """A comparison as one row of plain text: both arms, metric, difference, what stands under `TEST_TITLES`, verdict."""
    return (
        wording.name_of(c, result),
        metric_cell(c),
        *difference_cells(c),
        *test_cells(c),
        wording.verdict(c),
    )


def effect_cell(c: Comparison) -> str:
    """The effect size; infinite where all differences are equal and not 0."""
    if c.effect is None and c.mean and c.pairs + c.scored > 2:  # two pairs have no effect size
        return "+∞" if c.mean > 0 else "−∞"
    return signed(c.effect)


def arm_rows(result: Result, mean_cell: Callable[[Summary], str]) -> Rows:
    """Each arm with its mean in every metric, as `mean_cell` writes it,
    and under `COST_TITLES` what it costs."""
    parameters = result.parameters
    for name, arm in result.arms.items():
        cost = arm.cost
        yield (
            name,
            *(mean_cell(arm.summary[metric]) for metric in result.metrics),
            f"{parameters[name]:,}",
            seconds(cost.seconds_per_step),
            seconds(cost.seconds_per_run),
            compact(cost.tokens_per_second),
            compact(cost.flops_per_token),
            compact(cost.peak_bytes, "B"),
        )


def tuning_titles(result: Result) -> tuple[str, ...]:
    """Titles of `tuning_rows`."""
    return ("arm", "values", result.main_metric, "diverged", "")


def tuning_rows(result: Result) -> Rows:
    """Every trial of every arm; empty where nothing was tuned."""
    if result.fairness.budget.tuning_runs:
        for name, arm in result.arms.items():
            for trial in arm.tuned.trials:
                yield (
                    name,
                    wording.values(trial.values),
                    number(trial.score),
                    str(trial.diverged),
                    "chosen" if trial.chosen else "",
                )


def claim_rows(result: Result) -> Rows:
    """Every published figure beside what was measured."""
    for claim in result.claims:
        measured = claim.measured
        yield (
            claim.arm,
            claim.metric,
            number(claim.value),
            number(measured.mean),
            interval(measured.low, measured.high, number),
            claim.source,
        )
