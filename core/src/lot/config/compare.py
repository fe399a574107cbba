"""Where two configurations differ, by path: a run is continued only as what it was."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lot.errors import BadInput

FREE = frozenset({"train.parallel", "train.context_parallel"})
"""Keys that may change when a run is resumed: they say how to compute, not what. So may all of `recorders`."""


def require_none(what: str, differing: list[str]) -> None:
    """Raises BadInput that lists the `differences` of two configurations, if there are any."""
    if differing:
        more = f" and {len(differing) - 5} more" if len(differing) > 5 else ""
        raise BadInput(
            f"{what}: {'; '.join(differing[:5])}{more}",
            fix="resume without options, or choose another directory; "
            "a new run goes on from this one with others: lot run --extend RUN --set ...",
        )


def differences(recorded: dict[str, Any], given: dict[str, Any], *, known_only: bool = False) -> list[str]:
    """Where two configurations differ: `optim.lr is 0.1, was 0.2`, by path.

    known_only: leave out what was absent when the first was recorded: options that a package has since a later version.
    """
    ours, theirs = dict(leaves(given)), dict(leaves(recorded))
    keys = theirs.keys() if known_only else ours.keys() | theirs.keys()
    return [
        f"{key} is {ours.get(key, 'absent')!r}, was {theirs.get(key, 'absent')!r}"
        for key in sorted(keys)
        if not is_free(key) and ours.get(key, "absent") != theirs.get(key, "absent")
    ]


def is_free(key: str) -> bool:
    """Whether the key at a dotted path may change when a run is resumed."""
    return key in FREE or key.partition(".")[0] == "recorders"


def leaves(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted path and value of all that nested tables hold; an empty table below the first counts as a value."""
    if isinstance(tree, Mapping) and (tree or not path):
        for key, value in tree.items():
            yield from leaves(value, f"{path}.{key}" if path else str(key))
    else:
        yield path, tree
