"""Grids of numbers that tuning may extend: where the best value lies at the edge of what was tried, the next one is tried too.

A grid goes on by its own ratio, or by its own difference: 1e-3, 3e-3, 1e-2 by a factor of 3.16, and 0, 0.1, 0.2 by 0.1.

Imports no torch.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

from lot.errors import BadInput

Edge = Literal["least", "largest"]

EXTENSIONS = 3
"""How often the grids of a study are extended at most."""
UNEVEN = 0.25
"""By how much the ratios (or differences) of neighbors may differ in a grid that is extended: 1, 3, 10 is one."""


def is_numeric(values: Sequence[Any]) -> bool:
    """Whether a grid holds numbers alone, two or more of them."""
    return len(set(map(str, values))) >= 2 and all(type(value) in (int, float) for value in values)


def extended_paths(extend: Collection[str] | None, tune: Mapping[str, Sequence[Any]]) -> list[str]:
    """The paths whose grids may be extended."""
    return [path for path, values in tune.items() if (is_numeric(values) if extend is None else path in extend)]


def check_extension(extend: Sequence[str] | None, tune: Mapping[str, Sequence[Any]]) -> None:
    """Raises BadInput where a grid is to be extended that is not there, or that cannot be."""
    for path in extend or []:
        if path not in tune:
            raise BadInput(where="extend", expected=f"paths under tune ({', '.join(tune) or 'none'})", got=repr(path))
        values = tune[path]
        if not is_numeric(values):
            raise BadInput(
                where=f"tune.{path}",
                expected="two numbers or more, since extend names it",
                got=list(values),
                fix="leave it out of extend: names have no next one",
            )
        if next_value(values, "largest") is None:
            raise BadInput(
                where=f"tune.{path}",
                expected="values of one ratio or of one difference, since extend names it",
                got=list(values),
                fix="space them evenly, or leave it out of extend",
            )


def edge_of(value: Any, values: Sequence[Any]) -> Edge | None:
    """The edge of a grid of numbers at which `value` lies; None inside, and where the grid holds no two numbers."""
    if not is_numeric(values):
        return None
    return "least" if value == min(values) else "largest" if value == max(values) else None


def next_value(values: Sequence[float], edge: Edge) -> float | int | None:
    """The value beyond the edge of a grid; None where its values have neither a common ratio nor a common difference.

    A grid of whole numbers stays one. Other values have four significant digits.
    """
    ordered = sorted(set(values))
    differences = [after - before for before, after in itertools.pairwise(ordered)]
    ratios = [after / before for before, after in itertools.pairwise(ordered)] if ordered[0] > 0 else []
    uneven = _uneven(differences)
    end = ordered[0] if edge == "least" else ordered[-1]
    if ratios and _uneven(ratios) <= min(uneven, UNEVEN):
        ratio = (ordered[-1] / ordered[0]) ** (1 / len(ratios))
        found = end / ratio if edge == "least" else end * ratio
    elif uneven <= UNEVEN:
        step = (ordered[-1] - ordered[0]) / len(differences)
        found = end - step if edge == "least" else end + step
    else:
        return None
    if all(type(value) is int for value in values):
        whole = round(found)
        return None if whole in ordered else whole
    return float(f"{found:.4g}")


def _uneven(steps: Sequence[float]) -> float:
    return max(steps) / min(steps) - 1
