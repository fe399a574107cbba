"""What a mechanism is worth: the contrast of an arm with the same arm whose mechanism was left out throughout training.

`worth: [lattice]` adds the arm `lattice-neutral`, which has `train.neutral`, and the contrast of the two. It begins with the
same initial values and has the same parameters. Imports no torch.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from lot.errors import BadInput
from lot_cli.study.design.contrasts import Contrast

NEUTRAL = "train.neutral"
"""The option in which the two arms differ."""


def neutral_name(arm: str) -> str:
    """The name of an arm whose mechanism is left out."""
    return f"{arm}-neutral"


def neutral_arms(arms: Mapping[str, dict[str, Any] | None], worth: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The arms that `worth` adds, by name; those that are there already are left out.

    Raises BadInput for an arm that is unknown or comes twice, and for a name that another arm has.
    """
    added = {}
    for place, name in enumerate(worth):
        where = f"worth.{place}"
        if name not in arms:
            raise BadInput(where=where, expected=f"one of the arms {', '.join(arms)}", got=repr(name))
        if name in worth[:place]:
            raise BadInput(where=where, expected="each arm once", got=f"{name!r} again")
        table = arms[name] or {}
        train = table.get("train") or {}
        if not isinstance(train, dict):
            raise BadInput(where=f"arms.{name}.train", expected="a table", got=repr(train))
        neutral = {**table, "train": {**train, "neutral": True}}
        if neutral == table:
            raise BadInput(where=where, expected="an arm whose mechanism acts", got=f"{name!r}, which has {NEUTRAL}")
        label = neutral_name(name)
        if label not in arms:
            added[label] = neutral
        elif arms[label] != neutral:
            raise BadInput(
                where=f"arms.{label}",
                expected=f"another name, which worth gives to {name} held neutral",
                got=repr(label),
            )
    return added


def with_worth(
    contrasts: Sequence[Contrast], named: bool, worth: Sequence[str], vanilla: Collection[str]
) -> list[Contrast]:
    """The contrasts of a study with those that `worth` asks for.

    named: whether the file names its contrasts; else a neutral arm is compared with its own arm alone. vanilla: the arms of
    vanilla attention. Raises BadInput for the worth of one of them.
    """
    for place, name in enumerate(worth):
        if name in vanilla:
            raise BadInput(where=f"worth.{place}", expected="an arm with a mechanism to leave out", got=repr(name))
    asked = [(name, neutral_name(name)) for name in worth]
    only_for_worth = set() if named else {neutral for _, neutral in asked}
    kept = [pair for pair in contrasts if not only_for_worth & set(pair)]
    known = {frozenset(pair) for pair in kept}
    return [*kept, *(pair for pair in asked if frozenset(pair) not in known)]
