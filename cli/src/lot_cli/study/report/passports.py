"""Passports for people: a line while a study begins, tables and details in every report."""

from __future__ import annotations

from collections.abc import Iterator

from lot_cli.study.design.passport import Behavior, Part, Passport, check_command
from lot_cli.study.result import Result
from lot_cli.terminal.numbers import DASH, compact, count, number

ARM_TITLES = ("arm", "passport", "passed", "skipped", "failed", "weights", "other state", "of note")
PART_TITLES = ("part", "component", "arms", "source", "kit", "weights", "kept per token")
BEFORE = "made before passports: what the kit says about these arms was not recorded, and the verdicts stand without it"
NOTABLE = 0.05
"""A ratio that differs from 1 by less than this is not told."""
SAID = {
    "straight_through": "declares a straight-through gradient: {}",
    "depends_on_length": "declares that its outputs depend on the length of the sequence",
}


def passport_line(arm: str, passport: Passport, seconds: float | None) -> str:
    """One line for an arm. seconds: what it took; None where all of it was kept from before."""
    counts = passport.counts()
    how = "kept from before" if seconds is None else f"{seconds:.1f} s"
    numbers = f"{count(counts['passed'], 'check')} passed, {counts['skipped']} skipped, {counts['failed']} failed"
    return f"  {arm}: passport {state(passport)}, {numbers} ({how})"


def state(passport: Passport) -> str:
    """The state of a passport in a word."""
    return "LEAK" if passport.state == "leak" else passport.state


def arm_rows(result: Result) -> Iterator[tuple[str, ...]]:
    """Under `ARM_TITLES`, what is known of every arm; empty for a result that was made before passports."""
    if not any(arm.passport for arm in result.arms.values()):
        return
    for name, arm in result.arms.items():
        passport = arm.passport
        if passport is None:
            yield (name, "none", *(DASH for _ in ARM_TITLES[2:]))
            continue
        counts, behavior = passport.counts(), passport.behavior
        weights, other = (DASH, DASH) if behavior is None else (f"{behavior.weights:,}", f"{_other(behavior):,}")
        word = "LEAK" if name in result.fairness.leaks else state(passport)
        numbers = (str(counts[outcome]) for outcome in ("passed", "skipped", "failed"))
        yield (name, word, *numbers, weights, other, "; ".join(told(passport)) or DASH)


def part_rows(result: Result) -> Iterator[tuple[str, ...]]:
    """Under `PART_TITLES`, every component once, with the arms that have it."""
    for part, arms in _parts(result):
        counts = part.counts()
        kit = f"{counts['passed']} passed, {counts['skipped']} skipped"
        yield (
            part.place,
            f"{part.name} ({part.distribution} {part.version})",
            arms,
            part.source[:12],
            f"{counts['failed']} failed, {kit}" if counts["failed"] else kit,
            DASH if part.weights is None else f"{part.weights:,}",
            compact(part.state_per_token, "B"),
        )


def details(result: Result) -> Iterator[tuple[str, list[str]]]:
    """A title for every component, and lines with its options, what it declares, each check, and how to repeat them."""
    for part, arms in _parts(result):
        yield f"{part.place}: {part.name} ({arms})", list(_details(part))


def told(passport: Passport) -> Iterator[str]:
    """What a reader must know of an arm beside its configuration."""
    yield from dict.fromkeys(f"{part.path} {text}" for part in passport.parts for text in _declared(part))
    if passport.behavior is not None:
        yield from _behavior(passport.behavior)


def _declared(part: Part) -> Iterator[str]:
    if part.inert:
        yield f"declares without effect: {', '.join(part.inert)}"
    for name, text in SAID.items():
        if value := part.declared.get(name):
            yield text.format(value)


def _behavior(behavior: Behavior) -> Iterator[str]:
    if behavior.state:
        used = "an evaluation uses them" if behavior.acting else "no evaluation depends on them"
        yield f"training changes {count(_other(behavior), 'number')} beside weights ({', '.join(behavior.state)}); {used}"
    for part, ratio in behavior.gradients.items():
        if abs(ratio - 1) > NOTABLE:
            yield f"the gradient of {part} is {ratio:.3g} times the slope of the loss"
    if behavior.unresolved:
        yield f"gradients that differences could not confirm: {', '.join(behavior.unresolved)}"
    if behavior.objective is not None and abs(behavior.objective - 1) > NOTABLE:
        yield f"its objective pulls on the logits {behavior.objective:.3g} times as hard as cross-entropy"
    if behavior.passes > 1:
        yield f"{behavior.passes} forward passes for each micro-step"


def _other(behavior: Behavior) -> int:
    return behavior.trained - behavior.weights


def _parts(result: Result) -> Iterator[tuple[Part, str]]:
    """Every component once, and the names of the arms that have it."""
    arms: dict[tuple[str, str], list[str]] = {}
    parts: dict[tuple[str, str], Part] = {}
    for name, arm in result.arms.items():
        for part in arm.passport.parts if arm.passport is not None else ():
            arms.setdefault((part.key, part.place), []).append(name)
            parts.setdefault((part.key, part.place), part)
    for key, part in parts.items():
        yield part, "all arms" if len(arms[key]) == len(result.arms) else ", ".join(arms[key])


def _details(part: Part) -> Iterator[str]:
    yield f"key {part.key}, source {part.source}, on {part.device}, seed {part.seed} of the kit"
    for title, values in (("options", part.options), ("around it", part.around), ("declares", part.declared)):
        if values:
            yield f"{title}: {', '.join(f'{name} = {value}' for name, value in values.items())}"
    passed = [check.name for check in part.checks if check.outcome == "passed"]
    yield f"passed: {', '.join(passed) or 'none'}"
    for check in part.checks:
        if check.outcome != "passed":
            yield f"{check.outcome}: {check.name} ({check.why})"
        yield from (f"{check.name}: {line}" for line in check.told)
    if part.effect is not None:
        yield f"largest effect on the output: {number(part.effect)}"
    yield f"to repeat it: {check_command(part)}"
