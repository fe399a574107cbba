"""The record of looks in the folder of a study: which sets of pairs were analyzed there, and in which order.

`looks.jsonl` is only ever appended to. Each line has the hash of the line before it, and the result of a study has the
hash of its own line. Where the two do not fit, looks were lost, and no verdict can be trusted.

Imports neither torch nor numpy: a finished study is reported without them, and its report looks here too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from lot.errors import BadInput
from lot.options.validate import structure, unstructure
from lot.storage.files import write_atomic
from lot_cli.study.design.contrasts import Contrast
from lot_cli.study.design.file import Study
from lot_cli.study.design.plan import digest
from lot_cli.study.result import Comparison, EarlierLook, Looks, Result
from lot_cli.terminal.numbers import count

FILE = "looks.jsonl"
"""The record in the folder of a study."""
UNKNOWN = (
    "looks unknown: the record of earlier looks (looks.jsonl) is gone or broken, so there is no verdict; "
    "bring it back from a copy, or give the study another name"
)


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
    spends: float | None = None  # share of alpha that the planned looks may spend; None: the line of an earlier version

    def sound(self, before: str) -> bool:
        """Whether the line is as it was written, and follows the line with the hash `before`."""
        return self.before == before and self.mark == _mark(_line(self))


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


def append(folder: Path, record: Record, entry: Entry) -> None:
    """Append a line to the record in the folder."""
    lines = [json.dumps(_line(each)) for each in (*(record.entries or []), entry)]
    write_atomic(folder / FILE, "\n".join(lines) + "\n")


def marked(entry: Entry) -> Entry:
    """The line with its hash."""
    return attrs.evolve(entry, mark=_mark(_line(entry)))


def question_of(study: Study, contrasts: Sequence[Contrast], metrics: Mapping[str, bool]) -> str:
    """Digest of what is asked of the pairs, whatever the code that answers."""
    asked = [study.base, study.arms, list(map(list, contrasts)), dict(metrics), study.equivalence, study.alpha]
    budget = study.matching.budget
    return digest(asked if budget == "steps" else [*asked, budget])


def without_verdicts(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """The comparisons of a study whose record of looks is unknown."""
    return [attrs.evolve(c, verdict="looks unknown", negligible=False) for c in comparisons]


def beside_record(result: Result, record: Record) -> Result:
    """A result that is reported again, as the record of looks lets it be read today.

    Where the record is gone or broken it loses its verdicts; where looks were taken after it, a warning tells them.
    """
    looks = result.looks
    if looks is None or not looks.known:
        return result
    if record.entries is None:
        return attrs.evolve(
            result,
            looks=attrs.evolve(looks, known=False),
            comparisons=without_verdicts(result.comparisons),
            warnings=[UNKNOWN, *result.warnings],
        )
    marks = [entry.mark for entry in record.entries]
    later = [entry for entry in record.entries[marks.index(looks.mark) + 1 :] if entry.counts]
    if not later:
        return result
    last = later[-1]
    told = (
        f"{count(len(later), 'look')} at this study came later, the last on {last.date[:10]} with "
        f"{count(len(last.seeds), 'seed')} of {', '.join(last.arms)}: this result is not the newest"
    )
    return attrs.evolve(result, warnings=[told, *result.warnings])


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
            question=question_of(previous.study, contrasts, previous.metrics) if last else "",
            arms=look.arms,
            metrics=look.metrics,
            plan=[looks[0].seeds],
            counts=True,
            planned=place == 0,
            discarded=[],
            before=entries[-1].mark if entries else "",
            mark="",
            spends=1.0,
        )
        entries.append(marked(entry))
    return entries


def _line(entry: Entry) -> dict[str, Any]:
    """The entry as it stands in the file; those of earlier versions say nothing of what their plan may spend."""
    line = unstructure(entry)
    if entry.spends is None:
        del line["spends"]
    return line


def _mark(line: Mapping[str, Any]) -> str:
    return digest({key: value for key, value in line.items() if key != "mark"})
