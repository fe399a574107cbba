"""Makes the passports of a study before its first run, and refuses an arm whose passport fails."""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from lot.config.schema import Config
from lot.errors import BadInput
from lot.training.compose import compose
from lot_cli.study.design.passport import Part, Passport, check_command
from lot_cli.study.design.plan import Arm, source_digest
from lot_cli.study.execution.runner import Tell
from lot_cli.study.passports.behavior import behavior_of
from lot_cli.study.passports.part import code_of, part_of, places
from lot_cli.study.passports.store import Store
from lot_cli.terminal.numbers import count

SHOWN = 20
"""Failed checks that a message lists, at most."""


class Passports:
    """The passports of a study, each made once.

    folder: that of the study. seed: of the runs whose first steps are measured. device: where the runs are made, or cpu
    where these are made on other machines. tell: called with the event `passport` for every arm.
    """

    def __init__(self, folder: Path, seed: int, device: str, tell: Tell) -> None:
        self.seed, self.device, self.tell = seed, device, tell
        source_digest.cache_clear()  # another study of this process may have read what was edited since
        self._store = Store(folder)
        self._made: dict[str, Passport] = {}
        self._code: dict[str, dict[str, Any]] = {}
        self._told: set[str] = set()

    def of(self, arm: Arm, values: Mapping[str, Any] | None = None) -> Passport:
        """The passport of an arm with these tuned values. Raises BadInput under `arms.NAME` where it cannot be composed."""
        values = values or {}
        label = _label(arm, values)
        if label not in self._made:
            begin = time.perf_counter()
            self._code[label] = self._code_of(arm.config(self.seed, values))
            passport, new = self._make(arm, values)
            self._made[label] = passport
            if new or arm.name not in self._told:
                self._told.add(arm.name)
                seconds = time.perf_counter() - begin if new else None
                self.tell("passport", {"arm": arm.name, "values": values, "passport": passport, "seconds": seconds})
        return self._made[label]

    def may_leak(self, arm: Arm, values: Mapping[str, Any]) -> bool:
        """Whether an arm may see what it is asked to predict."""
        return arm.config(self.seed, values).allow_leak

    def _make(self, arm: Arm, values: Mapping[str, Any]) -> tuple[Passport, bool]:
        """A passport, and whether anything of it was made now."""
        config = arm.config(self.seed, values)
        try:
            composition = compose(config)
        except BadInput as error:
            raise error.under(f"arms.{arm.name}") from None
        found = [part_of(place, config, self.device, self._store) for place in places(config, composition.task)]
        parts, new = [part for part, _ in found], any(made for _, made in found)
        passport = Passport(made=_now(), parts=parts, behavior=None)
        if passport.state == "failed":
            return passport, new
        behavior, measured = behavior_of(composition, self.device, self._store)
        return attrs.evolve(passport, behavior=behavior), new or measured

    def edited(self, arm: Arm, values: Mapping[str, Any]) -> bool:
        """Whether the code that the passport of an arm vouches for has changed since it was made."""
        source_digest.cache_clear()
        return self._code_of(arm.config(self.seed, values)) != self._code[_label(arm, values)]

    def _code_of(self, config: Config) -> dict[str, Any]:
        return code_of(config.components, self.device)


def refuse(found: Sequence[tuple[Arm, Passport, bool]]) -> None:
    """Raises BadInput that names every arm which may not run, and why. Each comes with whether it may leak."""
    reasons = dict.fromkeys(_reason(arm, passport) for arm, passport, allow in found if not _may_run(passport, allow))
    if reasons:
        raise BadInput("\n".join(reasons))


def _may_run(passport: Passport, allow_leak: bool) -> bool:
    return passport.state == "passed" or (passport.state == "leak" and allow_leak)


def _reason(arm: Arm, passport: Passport) -> str:
    """Why an arm may not run, a line for each failed check, and what to do."""
    lines = list(_failed_lines(passport))
    more = [f"- and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    head = f"arms.{arm.name}: {count(len(lines), 'check')} of the kit failed, so that it gets no verdict:"
    allow = "; or set allow_leak=true to run it anyway, stamped LEAK and without a verdict"
    again = check_command(next(passport.failures())[0])
    fix = f"mend it (this shows it again: {again}){allow if passport.state == 'leak' else ''}"
    return "\n".join((head, *lines[:SHOWN], *more, fix))


def _failed_lines(passport: Passport) -> Iterator[str]:
    """A line for each failed check; one that fails in every layer of a path comes once."""
    layers: dict[str, set[int | None]] = {}
    for part in passport.parts:
        layers.setdefault(part.path, set()).add(part.layer)
    failing: dict[tuple[str, str, str], list[Part]] = {}
    for part, check in passport.failures():
        failing.setdefault((part.path, check.name, check.why), []).append(part)
    for (path, name, why), parts in failing.items():
        everywhere = {part.layer for part in parts} == layers[path]
        place = path if everywhere else " and ".join(part.place for part in parts)
        yield f"- {place} ({parts[0].kind} {parts[0].name}), {name}: {why}"


def _label(arm: Arm, values: Mapping[str, Any]) -> str:
    return f"{arm.name} {json.dumps(values, sort_keys=True)}"


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
