"""What a reader should hold against a result, beside unfairness: a line for each doubt."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lot.storage.files import read_json
from lot_cli.study.analysis.record import UNKNOWN
from lot_cli.study.design.grids import edge_of
from lot_cli.study.design.plan import Run, digest, run_key, source_digest
from lot_cli.study.result import Comparison, Grid, Reach, Result
from lot_cli.terminal.numbers import count


def warnings_of(result: Result) -> Iterator[str]:
    """The doubts that the result itself shows."""
    if (short := power_warning(result.statistics)) is not None:
        yield short
    yield from _of_looks(result)
    for arm in result.arms:
        yield from _of_arm(result, arm)
        if left_out := result.arms[arm].cost.uncounted:
            yield f"the FLOPs of {arm} leave out operators that have no formula: {', '.join(left_out)}"
    yield from _of_equal_arms(result)
    for c in result.comparisons:
        if c.mean is not None and c.low is not None and c.low == c.high:
            yield (
                f"{c.arm} and {c.against}, {c.metric}: every pair differs by {c.mean:g}; on a metric that is saturated, "
                "intervals and equivalence mean little"
            )
        if c.shape:
            yield _of_shape(c)
        if (
            c.verdict in ("better", "worse")
            and c.example_error is not None
            and abs(c.mean or 0.0) < 2 * c.example_error
        ):
            yield (
                f"{c.arm} and {c.against}, {c.metric}: shown over seeds, on these {c.examples:,} test examples; over examples "
                f"the difference has a standard error of {c.example_error:.2g}, so that on others it may be another"
            )


def warnings_of_runs(
    runs: Sequence[Run], folder: Path, numerics: Mapping[str, Any], side_by_side: int
) -> Iterator[str]:
    """The doubts about how the runs were made.

    folder: holds their directories. numerics: those that their keys were made with.
    side_by_side: the most that were made at a time.
    """
    records = [read_json(folder / run.key / "run.json") or {} for run in runs]
    if numerics_differ([record.get("fingerprint", {}) for record in records]):
        yield "runs were made on different numerics (device, torch or math library)"
    source_digest.cache_clear()
    if any(run_key(run.config, numerics) != run.key for run in runs):
        yield "code, or a file that it reads, was edited while the study ran: runs may have used the old form or the new"
    yield from overlaps(records)
    if side_by_side > 1:
        yield f"times were measured with up to {side_by_side} runs side by side"


def overlaps(records: Iterable[Mapping[str, Any]]) -> list[str]:
    """What tasks say of passages that their splits share, each once. records: the run.json of runs."""
    told = dict.fromkeys(record.get("repeats") for record in records)
    return [f"the splits are not wholly apart: {repeats}" for repeats in told if repeats]


def power_warning(reach: Reach) -> str | None:
    """What this number of seeds cannot show, and how many could, in one line;
    None where it can show a difference."""
    if reach.enough or reach.alpha <= 0:  # then nothing is left to be spent, which is told elsewhere
        return None
    could = f"{reach.needed} seeds could" if reach.needed else "no number of seeds could"
    return (
        f"{count(reach.seeds, 'seed')} cannot show a difference: the smallest p is {reach.smallest_p:.3g}, above "
        f"{reach.alpha:.3g}; {could}"
    )


def at_the_edge(grids: Sequence[Grid], chosen: Mapping[str, Any]) -> list[str]:
    """A line for each tuned number that is the least or largest of those tried: the best one may lie beyond."""
    lines = []
    for grid in grids:
        edge = edge_of(chosen.get(grid.path), grid.tried)
        if edge is not None:
            why = grid.ends.get(edge, "the file does not let the grid be extended")
            lines.append(
                f"best at the edge: tuning chose the {edge} {grid.path} that was tried, {chosen[grid.path]:g}; {why}"
            )
    return lines


def numerics_differ(fingerprints: Sequence[Mapping[str, Any]]) -> bool:
    """Whether runs were made on different numerics. fingerprints: as their run.json has them.

    A run has the kernels of its own mechanism only: a kernel that all its users ran in the same
    form makes no difference.
    """
    facts, forms = set(), set()
    for fingerprint in fingerprints:
        kernels = fingerprint.get("kernels", {})
        facts.add(digest({key: value for key, value in fingerprint.items() if key != "kernels"}))
        forms.update(kernels.items())
    return len(facts) > 1 or len(dict(forms)) < len(forms)


def _of_shape(c: Comparison) -> str:
    form = "fall in two groups" if c.shape == "split" else "are skewed"
    wins, losses = c.wins or (0, 0)
    line = (
        f"{c.arm} and {c.against}, {c.metric}: the differences {form}, so the test is of exchangeability and not of "
        f"means; {c.arm} is better in {wins} pairs, {c.against} in {losses}"
    )
    if c.succeeded is None:
        return line
    ours, theirs = c.succeeded
    seeds = c.pairs + c.scored
    return f"{line}; {c.arm} succeeds in {ours} of {seeds} seeds, {c.against} in {theirs}"


def _of_looks(result: Result) -> Iterator[str]:
    looks = result.looks
    if looks is None:
        return
    if not looks.known:
        yield UNKNOWN
    elif not looks.planned:
        last = result.earlier[-1]
        spent = "the plan spends all of alpha, so that there is no verdict; plan it in a study of another name"
        needs = f"a difference needs p <= {looks.level:.3g}" if looks.level > 0 else spent
        yield (
            f"this is look {looks.number}, and it was not planned: the last one was on {last.date[:10]} with "
            f"{count(last.seeds, 'seed')} of {', '.join(last.arms)} in {', '.join(last.metrics)}; {needs}"
        )
    if looks.discarded:
        yield f"seeds that were judged in this folder before and are left out now: {', '.join(map(str, looks.discarded))}"


def _of_arm(result: Result, arm: str) -> Iterator[str]:
    """Seeds that an arm lost, and tuned values at the edge."""
    rows = [row for row in result.runs if row.arm == arm]
    diverged = [str(row.seed) for row in rows if row.state == "diverged"]
    if diverged:
        yield f"{arm} diverged in {len(diverged)} of {len(rows)} seeds ({', '.join(diverged)})"
    for metric, summary in result.arms[arm].summary.items():
        if summary.lost > len(diverged):
            yield f"{arm}, {metric}: not finite in {summary.lost - len(diverged)} of {len(rows)} seeds"
    for line in at_the_edge(result.grids, result.arms[arm].tuned.values):
        yield f"{arm}: {line}"


def _of_equal_arms(result: Result) -> Iterator[str]:
    keys = {arm: [row.key for row in result.runs if row.arm == arm] for arm in result.arms}
    for index, arm in enumerate(keys):
        for other in list(keys)[:index]:
            if keys[arm] == keys[other]:
                yield f"{other} and {arm} are one and the same configuration"
