"""What the next look at a study may spend, so that all looks together err in at most alpha of all studies.

A reader who looks, adds seeds and looks again finds a difference too often, and no p of one look knows of it.

- A file that plans its looks (`looks: [6, 10, 16]`) has all of alpha for them, in equal parts: by the i-th of K looks i/K of
  it may be spent, and what one look leaves, the next one has. A look beside the plan has nothing left and gets no verdict.
- A file that names no looks plans one, at all of its seeds, and may look again: its one look counts as the first
  `FIRST_UNPLANNED - 1` of a series in which the k-th look has alpha / (k (k + 1)), and each further look is the next.
  The series sums to alpha, so that one look has 4/5 of alpha, and all later ones together 1/5, however many they are,
  whenever they come and whatever they ask.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs

from lot.errors import BadInput
from lot_cli.study.analysis.judge import reachable
from lot_cli.study.analysis.record import Entry, Record, append, marked, question_of
from lot_cli.study.analysis.statistics import MIN_PAIRS, smallest_p
from lot_cli.study.design.contrasts import Contrast
from lot_cli.study.design.file import Study
from lot_cli.study.result import Looks

FIRST_UNPLANNED = 5
"""The place of the first look that was not planned in the series of levels alpha / (k (k + 1))."""
SPENT_BY_ONE_LOOK = 1 - 1 / FIRST_UNPLANNED
"""The share of alpha that the one look of a file without `looks` has: the sum of the series before that place."""


@attrs.frozen(kw_only=True)
class Look:
    """The look that is about to be taken."""

    looks: Looks
    earlier: list[tuple[int, float]]  # pairs and level of each planned look that was made before it
    share: float  # what this look alone may spend
    entry: Entry | None  # its line; None where it stands in the record already, or there is none to write to


def level_of_unplanned(alpha: float, spends: float, before: int) -> float:
    """What a look may spend that was not planned, after `before` others; 0 where the plan spends all.

    spends: the share of alpha that the plan may spend.
    """
    if spends >= 1:
        return 0.0
    k = round(1 / (1 - spends)) + before
    return alpha / (k * (k + 1))


def planned_levels(alpha: float, spends: float, plan: Sequence[int]) -> dict[int, float]:
    """Number of pairs of each planned look -> what may be spent up to and with it."""
    return {pairs: alpha * spends * (place + 1) / len(plan) for place, pairs in enumerate(plan)}


def check_reach(study: Study) -> None:
    """Raises BadInput for a planned look that can show nothing: no p that its pairs can give is as small as its level.

    Where margins are given, it can still show equivalence.
    """
    for pairs, level in planned_levels(study.alpha, 1.0, study.looks or []).items():
        lowest = smallest_p(pairs)
        if lowest > level and not (study.equivalence and pairs >= MIN_PAIRS):
            enough = next((n for n in range(MIN_PAIRS, 64) if smallest_p(n) <= level), None)
            fix = f"look at {enough} pairs or more, or leave it out" if enough else "leave it out, or raise alpha"
            raise BadInput(
                where="looks",
                expected=f"looks that can show something (a p of {level:.3g} or less)",
                got=f"{pairs} pairs, whose smallest p is {lowest:.3g}",
                fix=fix,
            )


def pairs_of_next_look(study: Study, record: Record) -> list[int]:
    """The seeds of the next look: all of them where the file names no looks or the record is unknown,
    else those up to the first planned number of pairs that was not looked at."""
    seeds = study.seed_list
    if study.looks is None or record.entries is None:
        return seeds
    seen = {tuple(entry.seeds) for entry in record.entries}
    return next((seeds[:pairs] for pairs in study.looks if tuple(seeds[:pairs]) not in seen), seeds)


def next_look(
    record: Record, study: Study, seeds: Sequence[int], contrasts: Sequence[Contrast], metrics: Mapping[str, bool]
) -> Look:
    """The look at the pairs of `seeds`, with the level that its place among all looks leaves it."""
    if record.entries is None:
        unknown = Looks(known=False, number=0, planned=False, plan=[], level=0.0, discarded=[], mark=record.lost)
        return Look(looks=unknown, earlier=[], share=0.0, entry=None)
    question = question_of(study, contrasts, metrics)
    known = next((e for e in record.entries if (e.seeds, e.question) == (list(seeds), question)), None)
    before = record.entries if known is None else record.entries[: record.entries.index(known)]
    counted = [entry for entry in before if entry.counts]
    plan, spends = _plan(study, counted if known is None else [known])
    planned = _is_planned(seeds, question, plan, counted)
    if planned:
        levels = planned_levels(study.alpha, spends, plan)
        level, share = levels[len(seeds)], study.alpha * spends / len(plan)
        earlier = [(len(entry.seeds), levels[len(entry.seeds)]) for entry in counted if entry.planned]
    else:
        level = share = level_of_unplanned(study.alpha, spends, sum(not entry.planned for entry in counted))
        earlier = []
    judged = {seed for entry in before for seed in entry.seeds}
    entry = None
    if known is None:
        reach = reachable(len(seeds), len(contrasts) * len(metrics), level)
        tells = reach.enough or bool(study.equivalence) or (planned and study.looks is not None)
        entry = attrs.evolve(
            _entry(record, study, seeds, question, contrasts, metrics),
            plan=plan,
            spends=spends,
            planned=planned,
            counts=level > 0 and tells,
            discarded=sorted(judged - set(seeds)),
        )
        known = entry = marked(entry)
    looks = Looks(
        known=True,
        number=len(counted) + 1,
        planned=planned,
        plan=plan,
        spends=spends,
        level=level,
        discarded=known.discarded,
        mark=known.mark,
    )
    return Look(looks=looks, earlier=earlier, share=share, entry=entry)


def write_entry(folder: Path, look: Look, record: Record) -> None:
    """Append the line of `look` to the record; nothing where it stands there already."""
    if look.entry is not None:
        append(folder, record, look.entry)


def _plan(study: Study, counted: Sequence[Entry]) -> tuple[list[int], float]:
    """Numbers of pairs of the planned looks, and the share of alpha that they may spend, as every look so far had them."""
    if counted:
        first = counted[0]
        return first.plan, 1.0 if first.spends is None else first.spends
    if study.looks is not None:
        return list(study.looks), 1.0
    return [len(study.seed_list)], SPENT_BY_ONE_LOOK


def _is_planned(seeds: Sequence[int], question: str, plan: Sequence[int], counted: Sequence[Entry]) -> bool:
    """Whether a look at `seeds` goes on with the plan: the same question, more pairs, and none of the earlier ones gone."""
    made = [entry for entry in counted if entry.planned]
    goes_on = all(
        entry.question == question and len(entry.seeds) < len(seeds) and entry.seeds == list(seeds[: len(entry.seeds)])
        for entry in made
    )
    return len(seeds) in plan and goes_on


def _entry(
    record: Record,
    study: Study,
    seeds: Sequence[int],
    question: str,
    contrasts: Sequence[Contrast],
    metrics: Mapping[str, bool],
) -> Entry:
    return Entry(
        date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        seeds=list(seeds),
        question=question,
        arms=[arm for arm in study.arms if any(arm in contrast for contrast in contrasts)],
        metrics=list(metrics),
        plan=[],
        counts=True,
        planned=True,
        discarded=[],
        before=record.entries[-1].mark if record.entries else "",
        mark="",
    )
