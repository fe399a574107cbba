"""Which arms a study compares with which, and at which numbers of pairs it looks: checked before anything is spent.

Imports no torch.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from lot.errors import BadInput

Contrast = tuple[str, str]
"""Two arms; a difference is the first minus the second."""


def contrasts_of(named: Sequence[Sequence[str]] | None, arms: Collection[str], reference: str) -> list[Contrast]:
    """The contrasts that a study file names; where it names none, every arm against the reference."""
    if named is None:
        return [(arm, reference) for arm in arms if arm != reference]
    return [(arm, against) for arm, against in named]


def check_contrasts(named: Sequence[Sequence[str]] | None, arms: Collection[str]) -> None:
    """Raises BadInput for an arm that is unknown or compared with itself, and for a pair of arms that comes twice."""
    if named is None:
        return
    if not named:
        raise BadInput(where="contrasts", expected="at least one pair of arms", got="none", fix="leave the key out")
    seen: set[frozenset[str]] = set()
    for place, pair in enumerate(named):
        where = f"contrasts.{place}"
        if len(pair) != 2:
            raise BadInput(where=where, expected="two arms, as in [lattice, vanilla]", got=list(pair))
        for arm in pair:
            if arm not in arms:
                raise BadInput(where=where, expected=f"two of the arms {', '.join(arms)}", got=repr(arm))
        if pair[0] == pair[1]:
            raise BadInput(where=where, expected="two different arms", got=f"{pair[0]!r} against itself")
        if frozenset(pair) in seen:
            raise BadInput(where=where, expected="each pair of arms once", got=f"{' and '.join(pair)} again")
        seen.add(frozenset(pair))


def check_looks(looks: Sequence[int] | None, seeds: int) -> None:
    """Raises BadInput for looks that do not rise, or that do not end at the number of seeds."""
    if looks is None:
        return
    if not looks or looks[0] < 2 or any(b <= a for a, b in zip(looks, looks[1:], strict=False)):
        raise BadInput(where="looks", expected="rising numbers of pairs, from 2 on", got=list(looks))
    if looks[-1] != seeds:
        raise BadInput(
            where="looks",
            expected=f"the last look to be at all {seeds} seeds",
            got=list(looks),
            fix=f"say seeds: {looks[-1]}, or end looks with {seeds}",
        )
