"""What the arms of a study have alike: their parameters, and what a run of each may cost.

Two keys of a study file say it. `match` names what is made equal: parameters by the width of the MLP, and time or FLOPs by
the number of training steps, so that a list may join one size and one budget. Without a budget all arms make the same
number of steps. `equal_time` leaves the arms as they are, and gives every contrast a sibling: its second arm, trained
for as long as the first one takes.

Imports no torch.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

import attrs

from lot.errors import BadInput
from lot_cli.study.design.contrasts import Contrast

Budget = Literal["steps", "time", "flops"]
Match = Literal["parameters", "time", "flops", "none"]
Matched = Literal["parameters", "time", "flops"]

IN_WORDS: dict[Budget, str] = {"steps": "equal steps", "time": "equal time", "flops": "equal FLOPs"}


@attrs.frozen(kw_only=True)
class Matching:
    """What `match` says."""

    parameters: bool  # whether parameters are matched
    budget: Budget  # what every arm spends alike


def matching_of(match: Match | Sequence[Matched]) -> Matching:
    """What a value of `match` says. Raises BadInput for a list that says nothing or two budgets."""
    named: Sequence[str] = [match] if isinstance(match, str) else match
    budgets: list[Budget] = [name for name in ("time", "flops") if name in named]
    if not named or len(set(named)) < len(named) or len(budgets) > 1:
        raise BadInput(
            where="match",
            expected="parameters, time, flops or none, or a list of parameters and one of time and flops",
            got=list(named),
        )
    return Matching(parameters="parameters" in named, budget=budgets[0] if budgets else "steps")


def check_matching(match: Match | Sequence[Matched], equal_time: bool, parts: Mapping[str, Any]) -> None:
    """Raises BadInput for a `match` that says nothing, for what it makes superfluous, and for an arm that sets what is matched.

    parts: the table of each arm, by its name.
    """
    budget = matching_of(match).budget
    if budget == "time" and equal_time:
        raise BadInput(
            "every arm has as much time already, by match: time",
            where="equal_time",
            fix="leave it out, or match parameters alone",
        )
    if budget == "steps":
        return
    for name, table in parts.items():
        if "steps" in ((table or {}).get("train") or {}):
            raise BadInput(
                where=f"arms.{name}.train.steps",
                expected=f"not to be given, since it matches the {budget}",
                fix="give them in base: they are those of the reference",
            )


def sibling_of(contrast: Contrast) -> str:
    """The name of the second arm of a contrast when it is trained for as long as the first one takes."""
    arm, against = contrast
    return f"{against},time={arm}"


def siblings_of(contrasts: Sequence[Contrast], taken: Collection[str]) -> list[Contrast]:
    """The contrasts at equal time beside these. Raises BadInput where an arm has the name of a sibling."""
    added = [(arm, sibling_of((arm, against))) for arm, against in contrasts]
    for _, name in added:
        if name in taken:
            raise BadInput(where=f"arms.{name}", expected="another name, since equal_time makes an arm of it", got=name)
    return added


def steps_for(steps: int, ratio: float) -> int:
    """As many steps as cost what `steps` of another arm do. ratio: the cost of one of them, in such steps."""
    return max(1, round(steps / ratio))
