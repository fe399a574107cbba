"""The curves of a run, out of the rows of its log: the same for every form in which they are drawn. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

Row = dict[str, Any]
LARGEST = 1e300
_NO_TERMS = {"step", "split", "lr", "grad_norm"}


class Course(NamedTuple):
    """Values over training, without those that are not finite (or so large that no axis could be drawn)."""

    steps: list[int]
    values: list[float]


def is_drawable(value: object) -> bool:
    """Whether a value is a number that has a place on an axis."""
    return isinstance(value, (int, float)) and -LARGEST < value < LARGEST


def of_split(rows: Sequence[Row], split: str) -> list[Row]:
    """The rows of a split: `train` or `validation`."""
    return [row for row in rows if row.get("split") == split]


def course(rows: Sequence[Row], key: str) -> Course:
    """What the rows say under `key`."""
    points = [(row["step"], row[key]) for row in rows if is_drawable(row.get(key))]
    return Course([step for step, _ in points], [value for _, value in points])


def terms(train: Sequence[Row]) -> list[str]:
    """The terms of the objective; `loss`, the objective itself, first, and alone where it is its only term."""
    found = [key for key in train[0] if key not in _NO_TERMS] if train else []
    return ["loss"] if len(found) == 2 else found


def metrics(validation: Sequence[Row]) -> list[str]:
    """The metrics of the task, beside the loss."""
    return [key for key in (validation[0] if validation else {}) if key not in _NO_TERMS | {"loss"}]


def is_share(rows: Sequence[Row], key: str) -> bool:
    """Whether a metric is a share: a number from 0 to 1 in every row."""
    values = [row.get(key) for row in rows]
    return all(isinstance(value, (int, float)) and 0 <= value <= 1 for value in values)


def is_steep(values: Sequence[float]) -> bool:
    """Whether values need a logarithmic axis."""
    return bool(values) and min(values) > 0 and max(values) > 30 * min(values)


def usual_window(rows: int) -> int:
    """Rows that a running mean covers where nobody says how many: a fiftieth of all."""
    return max(1, rows // 50)
