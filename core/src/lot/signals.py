"""The signals that modules give and that losses and diagnostics read, as data. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import attrs

Source = Literal["trunk", "embedding", "attention"]
"""Who gives a signal."""

Shape = tuple[str, ...]
"""Sizes by letter: B batch, T positions, D width, H heads, V vocabulary, L+1 residual streams; others are free."""


@attrs.frozen(kw_only=True)
class Signal:
    """One signal.

    source: who gives it; what an attention gives is found as `output.signals[name][layer]`, anything else as
    `output.signals[name]`. shapes: the admissible ones. one_oscillator: given only where each head is one oscillator,
    so that `phase` beside it is (B, H, T).
    """

    name: str
    source: Source
    shapes: tuple[Shape, ...]
    meaning: str
    one_oscillator: bool = False

    def problem(self, shape: Iterable[int], sizes: Mapping[str, int]) -> str | None:
        """What was expected when `shape` is none of the admissible ones, else None.

        sizes: the size of each letter that is known; one that is not in it may have any size.
        """
        found = tuple(shape)
        if any(_fits(found, admissible, sizes) for admissible in self.shapes):
            return None
        return " or ".join(_describe(admissible, sizes) for admissible in self.shapes)


def _fits(found: tuple[int, ...], admissible: Shape, sizes: Mapping[str, int]) -> bool:
    if len(found) != len(admissible):
        return False
    known = dict(sizes)
    return all(size == known.setdefault(letter, size) for size, letter in zip(found, admissible, strict=True))


def _describe(shape: Shape, sizes: Mapping[str, int]) -> str:
    letters = ", ".join(shape)
    numbers = ", ".join(str(sizes.get(letter, letter)) for letter in shape)
    return f"({letters}) = ({numbers})"


def _table(*signals: Signal) -> dict[str, Signal]:
    return {signal.name: signal for signal in signals}


SIGNALS: Mapping[str, Signal] = _table(
    Signal(
        name="hidden",
        source="trunk",
        shapes=(("L+1", "B", "T", "D"),),
        meaning="the residual stream after the embedding and after each block",
    ),
    Signal(
        name="phase",
        source="attention",
        shapes=(("B", "H", "T"), ("B", "H", "T", "O")),
        meaning="phase of each head (or of each of its O oscillators) after each token, radians, float32 or wider",
    ),
    Signal(
        name="coupling_force",
        source="attention",
        shapes=(("B", "H", "T"),),
        meaning="pull of the neighbors on each head's phase, radians per unit of time",
        one_oscillator=True,
    ),
    Signal(
        name="natural_frequency",
        source="attention",
        shapes=(("H",), ("H", "O")),
        meaning="natural frequency of each head or oscillator, radians per unit of time",
    ),
    Signal(
        name="neighbor_weights",
        source="attention",
        shapes=(("H", "H"),),
        meaning="how strongly head j (column) pulls head i (row), >= 0",
        one_oscillator=True,
    ),
    Signal(
        name="attention",
        source="attention",
        shapes=(("B", "H", "T", "T"),),
        meaning="weight of each key (column) for each query (row); rows sum to 1 unless the mechanism says otherwise",
    ),
    Signal(
        name="harmonic_amplitude",
        source="embedding",
        shapes=(("V", "W", "N"),),
        meaning="amplitude of each of N harmonics of each of W waves of each token",
    ),
)
"""The signals that first-party components agree on. A plugin may give others; their shapes are its own affair."""


def shape_problem(name: str, shape: Iterable[int], sizes: Mapping[str, int]) -> str | None:
    """`Signal.problem` of a signal of the table; None for a signal that the table does not know."""
    signal = SIGNALS.get(name)
    return None if signal is None else signal.problem(shape, sizes)
