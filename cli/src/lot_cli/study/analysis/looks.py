"""The record of looks: which sets of pairs were analyzed in the folder of a study, so that each later one has its price.

A reader who looks, adds seeds and looks again finds a difference too often, and no p of one look knows of it.
Planned looks share alpha equally: by the i-th of K looks i/K of it may be spent, and what one look leaves, the next one
has. A file that names no looks plans one, at all of its seeds. A look that was not planned comes after the plan:
as the k-th look, where all that was planned counts as the first, it needs p <= alpha / (k (k + 1)).
Together such looks spend at most half of alpha beside the plan.

`looks.jsonl` is only ever appended to. Each line has the hash of the line before it, and the result of a study has the
hash of its own line.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from lot.errors import BadInput
from lot.options.validate import structure, unstructure
from lot.storage.files import write_atomic
from lot_cli.study.analysis.judge import reachable
from lot_cli.study.design.contrasts import Contrast
from lot_cli.study.design.file import Study
from lot_cli.study.design.plan import digest
from lot_cli.study.result import EarlierLook, Looks, Result

FILE = "looks.jsonl"
"""The record in the folder of a study."""


@attrs.frozen(kw_only=True)
class Entry:
    """A line of the record."""

    date: str  # ISO 8601, UTC
    seeds: list[int]  # the pairs that were judged
    question: str  # digest of what was asked of them: arms, contrasts, metrics, margins, alpha
    arms: list[str]  # names of the arms
    metrics: list[str]  # names of the metrics
    plan: list[int]  # numbers of pairs of the planned looks, as the file had them then
    counts: bool  # whether it could give a verdict, or was planned by name; no other one tempts a reader
    planned: bool  # whether it was planned
    discarded: list[int]  # seeds that were judged before it and not in it
    before: str  # hash of the line before; empty for the first one
    mark: str  # hash of all of the above

    def sound(self, before: str) -> bool:
        """Whether the line is as it was written, and follows the line with the hash `before`."""
        return self.before == before and self.mark == _mark(unstructure(self))


@attrs.frozen(kw_only=True)
class Record:
    """What is known of the looks before this one. entries: oldest first; None where the record is gone or broken."""

    entries: list[Entry] | None
    lost: str = ""  # where it is unknown: the mark that the last known result had, which brings it back

    @property
    def counted(self) -> list[Entry]:
        """The looks that count."""
        return [entry for entry in self.entries or [] if entry.counts]

    def earlier(self, look: Looks) -> list[EarlierLook]:
        """The looks before `look` that count."""
        before = self.counted[: look.number - 1]
        return [EarlierLook(date=e.date, seeds=len(e.seeds), arms=e.arms, metrics=e.metrics) for e in before]


@attrs.frozen(kw_only=True)
class Look:
    """The look that is about to be taken."""

    looks: Looks
    earlier: list[tuple[int, float]]  # pairs and level of each planned look that was made before it
    share: float  # what this look alone may spend
    entry: Entry | None  # its line; None where it stands in the record already, or there is none to write to


def read_record(folder: Path, previous: Result | None) -> Record:
    """The record in the folder of a study. previous: the result that stands there.

    A result by the earlier rule kept its own looks: they begin the record. Raises BadInput where it cannot be read.
    """
    unknown = Record(
        entries=None, lost=previous.looks.mark if previous is not None and previous.looks is not None else ""
    )
    try:
        text = (folder / FILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        if previous is None:
            return Record(entries=[])
        return unknown if previous.looks is not None else Record(entries=_of_earlier_rule(previous))
    except (OSError, UnicodeDecodeError):
        return unknown
    entries: list[Entry] = []
    try:
        for line in text.splitlines():
            entry: Entry = structure(Entry, json.loads(line), "")
            if not entry.sound(entries[-1].mark if entries else ""):
                return unknown
            entries.append(entry)
    except (ValueError, RecursionError, BadInput):
        return unknown
    marks = {entry.mark for entry in entries}
    if previous is not None and previous.looks is not None and previous.looks.mark not in marks:
        return unknown  # lines were cut off, or the record is that of another study
    return Record(entries=entries)


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
    question = _question(study, contrasts, metrics)
    known = next((e for e in record.entries if (e.seeds, e.question) == (list(seeds), question)), None)
    before = record.entries if known is None else record.entries[: record.entries.index(known)]
    counted = [entry for entry in before if entry.counts]
    plan = counted[0].plan if counted else _plan(study)
    planned = _is_planned(seeds, question, plan, counted)
    if planned:
        levels = {pairs: study.alpha * (place + 1) / len(plan) for place, pairs in enumerate(plan)}
        level, share = levels[len(seeds)], study.alpha / len(plan)
        earlier = [(len(entry.seeds), levels[len(entry.seeds)]) for entry in counted if entry.planned]
    else:
        k = 2 + sum(not entry.planned for entry in counted)
        level = share = study.alpha / (k * (k + 1))
        earlier = []
    judged = {seed for entry in before for seed in entry.seeds}
    if known is None:
        reach = reachable(len(seeds), len(contrasts) * len(metrics), level)
        entry = _entry(record, study, seeds, question, contrasts, metrics)
        entry = attrs.evolve(
            entry,
            plan=plan,
            planned=planned,
            counts=reach.enough or bool(study.equivalence) or (planned and study.looks is not None),
            discarded=sorted(judged - set(seeds)),
        )
        known = entry = attrs.evolve(entry, mark=_mark(unstructure(entry)))
    else:
        entry = None
    looks = Looks(
        known=True,
        number=len(counted) + 1,
        planned=planned,
        plan=plan,
        level=level,
        discarded=known.discarded,
        mark=known.mark,
    )
    return Look(looks=looks, earlier=earlier, share=share, entry=entry)


def write_entry(folder: Path, look: Look, record: Record) -> None:
    """Append the line of `look` to the record; nothing where it stands there already."""
    if look.entry is not None:
        lines = [json.dumps(unstructure(entry)) for entry in (*(record.entries or []), look.entry)]
        write_atomic(folder / FILE, "\n".join(lines) + "\n")


def _plan(study: Study) -> list[int]:
    return list(study.looks) if study.looks is not None else [len(study.seed_list)]


def _is_planned(seeds: Sequence[int], question: str, plan: Sequence[int], counted: Sequence[Entry]) -> bool:
    """Whether a look at `seeds` goes on with the plan: the same question, more pairs, and none of the earlier ones gone."""
    made = [entry for entry in counted if entry.planned]
    goes_on = all(
        entry.question == question and len(entry.seeds) < len(seeds) and entry.seeds == list(seeds[: len(entry.seeds)])
        for entry in made
    )
    return len(seeds) in plan and goes_on


def _question(study: Study, contrasts: Sequence[Contrast], metrics: Mapping[str, bool]) -> str:
    """Digest of what is asked of the pairs, whatever the code that answers."""
    return digest([study.base, study.arms, list(map(list, contrasts)), dict(metrics), study.equivalence, study.alpha])


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


def _of_earlier_rule(previous: Result) -> list[Entry]:
    """Lines for a result that was judged by the earlier rule and for the looks that it tells of."""
    looks = [*previous.earlier]
    if any(c.verdict not in ("too few pairs", "diverged") for c in previous.comparisons):
        metrics, arms = list(previous.metrics), list(previous.arms)
        looks.append(EarlierLook(date=previous.date, seeds=len(previous.seeds), arms=arms, metrics=metrics))
    entries: list[Entry] = []
    for place, look in enumerate(looks):
        last = place == len(looks) - 1
        contrasts = [(arm, previous.reference) for arm in previous.arms if arm != previous.reference]
        entry = Entry(
            date=look.date,
            seeds=previous.seeds if last else previous.seeds[: look.seeds],
            question=_question(previous.study, contrasts, previous.metrics) if last else "",
            arms=look.arms,
            metrics=look.metrics,
            plan=[looks[0].seeds],
            counts=True,
            planned=place == 0,
            discarded=[],
            before=entries[-1].mark if entries else "",
            mark="",
        )
        entries.append(attrs.evolve(entry, mark=_mark(unstructure(entry))))
    return entries


def _mark(line: Mapping[str, Any]) -> str:
    return digest({key: value for key, value in line.items() if key != "mark"})
