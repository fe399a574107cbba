"""Takes verdicts away where a passport does not stand behind them. Imports no torch."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import attrs

from lot_cli.study.design.passport import Passport
from lot_cli.study.result import Comparison, Result, Verdict

Reasons = dict[str, tuple[Verdict, str]]
"""arm -> the verdict that each of its comparisons gets instead, and why."""


def reasons(passports: Mapping[str, Passport], leaks: Collection[str], edited: Iterable[str] = ()) -> Reasons:
    """The arms that get no verdict. leaks: arms that see the answer. edited: those whose code changed meanwhile."""
    found: Reasons = {}
    for arm in edited:
        found[arm] = (
            "no passport",
            f"the code of {arm} was edited while its runs were made, and its passport is of before",
        )
    for arm, passport in passports.items():
        if passport.state == "failed":
            part, check = next((p, c) for p, c in passport.failures() if not c.leak)
            found[arm] = ("no passport", f"the passport of {arm} failed ({part.place}: {check.name})")
        elif passport.state == "leak":
            found[arm] = ("leak", f"{arm} sees what it is asked to predict")
    found.update({arm: ("leak", f"{arm} sees what it is asked to predict") for arm in leaks if arm not in found})
    return found


def void(comparisons: Sequence[Comparison], found: Reasons) -> list[Comparison]:
    """The comparisons, those of an arm without a verdict marked as such."""
    return [_void(c, found) for c in comparisons]


def _void(c: Comparison, found: Reasons) -> Comparison:
    for arm in (c.arm, c.against):
        if arm in found:
            verdict, why = found[arm]
            return attrs.evolve(c, verdict=verdict, negligible=False, void=why)
    return c


def recheck(result: Result, passports: Mapping[str, Passport] | None) -> Result:
    """A finished result in the light of passports that were made after it: one that fails now takes the verdict away."""
    failed = {arm: p for arm, p in (passports or {}).items() if arm in result.arms and p.state == "failed"}
    if not failed:
        return result
    found = reasons(failed, ())
    arms = {name: attrs.evolve(arm, passport=failed.get(name, arm.passport)) for name, arm in result.arms.items()}
    lines = [f"{why}, found after its runs were made" for _, why in found.values()]
    comparisons = void(result.comparisons, found)
    return attrs.evolve(result, arms=arms, comparisons=comparisons, warnings=[*result.warnings, *lines])
