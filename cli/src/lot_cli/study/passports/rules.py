"""What a passport means for the fairness of a study: the ways in which an arm is paid for elsewhere than in its weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from lot_cli.study.design.check_fairness import Findings
from lot_cli.study.design.file import Study
from lot_cli.study.design.passport import Behavior, Passport
from lot_cli.terminal.numbers import count

GRADIENT = 1.25
"""A gradient that is larger or smaller than the slope of the loss by more than this factor is no gradient of it."""
OBJECTIVE = 2.0
"""An objective whose gradient on the logits is that of the reference's by this factor trains at another rate."""


def take_in(study: Study, passports: Mapping[str, Passport], reference: str, found: Findings) -> None:
    """Note what the passports say against the fairness of the arms."""
    base = passports[reference].behavior
    said = {*found.reasons, *(f"{asked.arm}: {asked.difference}" for asked in found.asked)}
    for arm, passport in passports.items():
        if passport.state == "leak" and arm not in found.leaks:
            found.leaks.append(arm)
            found.unfair.add(arm)
            found.reasons.append(f"{arm} sees what it is asked to predict (its passport)")
        if passport.behavior is not None:
            for path, text in departures(passport, passport.behavior, base, study.tolerance):
                if f"{arm}: {text}" not in said:
                    found.note(study, arm, path, text)


def departures(
    passport: Passport, behavior: Behavior, base: Behavior | None, tolerance: float
) -> Iterator[tuple[str, str]]:
    """What breaks the fairness of an arm, each with the path under `differs` that asks for it. base: of the reference."""
    approximate = any(part.declared.get("straight_through") for part in passport.parts)
    for part, ratio in behavior.gradients.items():
        if not (1 / GRADIENT <= ratio <= GRADIENT or approximate):
            yield "gradients", f"the gradient of {part} is {ratio:.3g} times the slope of the loss"
    if behavior.acting:
        numbers = sum(behavior.state[name] for name in behavior.acting)
        names = _some(behavior.acting)
        yield "state", f"an evaluation uses {count(numbers, 'number')} that training left in {names}, beside weights"
    if base is None:
        return
    if behavior.state and behavior.trained > base.trained * (1 + tolerance):
        hidden = behavior.trained - behavior.weights
        trained = f"training changes {behavior.trained:,} numbers, {hidden:,} of them beside weights"
        yield "parameters", f"{trained}; the reference has {base.trained:,}"
    if behavior.passes > base.passes:
        yield "passes", f"{behavior.passes} forward passes for each micro-step, in the reference {base.passes}"
    if behavior.objective is not None and base.objective:
        ratio = behavior.objective / base.objective
        if not 1 / OBJECTIVE < ratio < OBJECTIVE:
            yield "objective", f"the gradient of its objective on the logits is {ratio:.3g} times that of the reference"


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
