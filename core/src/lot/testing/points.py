"""Points over the axes of configuration, so that a defect which shows in a part of the space only is seen all the same.

Nobody can know the points in advance, for they are drawn from the seed of the case; but which values occur is not left to
luck: every value of every axis is among them, every length and size of a batch in the lists below, and every pair of values
of two axes (beside lengths and sizes of batches, of which there are too many).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lot.contracts import Dims, Positions
from lot.errors import BadInput
from lot.random import derive, numpy_generator
from lot.testing.case import Case
from lot.testing.draws import perturb
from lot.testing.failure import NotApplicable

LENGTHS = (1, 2, 3, 4, 5, 7, 8, 9, 12, 15, 16, 17, 24, 31, 32, 33, 48, 63, 64, 65, 96, 127, 128, 129, 160, 192, 193)
"""Lengths around powers of two and multiples of common sizes of blocks; powers of two beyond join them up to max_len."""
BATCHES = range(1, 17)
TOKENS = 512
"""Of a batch with more than one sequence: at most so many, so that points cost little."""
STEPS = (0, 1, 50, 10**6)
HEADS = (1, 2, 4, 8)
PLACES = ("only", "first", "middle", "last")
DEEPEST = 12
"""Layers of the deepest model that a point stands for."""
PADDINGS = ("none", "right", "left", "scattered")
PARAMETERS = ("initial", "perturbed", "far")
FAR = 4.0
"""How many times as far as usual `far` parameters are moved."""
DROPOUT = 0.2
CANDIDATES = 24
"""Random rows, of which the one that covers most pairs is taken."""


@dataclass(frozen=True)
class Point:
    """One place in the space of configuration.

    key: of all that is drawn at this point. B: sequences. T: tokens. dims: around the module.
    """

    key: int
    B: int
    T: int
    dims: Dims
    step: int
    padding: str
    parameters: str
    dtype: torch.dtype

    def __str__(self) -> str:
        d = self.dims
        heads = f"{d.heads} head{'s' * (d.heads > 1)}"
        padding = "no padding" if self.padding == "none" else f"{self.padding} padding"
        dropout = f", dropout {d.dropout:g}" if d.dropout else ""
        return (
            f"layer {d.layer} of {d.layers}, {heads}, B = {self.B}, T = {self.T}, step {self.step}, {padding}, "
            f"{self.parameters} parameters, positions {d.positions}{dropout}, {str(self.dtype).removeprefix('torch.')}"
        )

    def module(self, case: Case, *, training: bool) -> nn.Module:
        """The module of this point, the same each time. Raises BadInput where the factory refuses it."""
        module: nn.Module = case.build(self.dims, seed=self.key % 1000)
        if self.parameters != "initial":
            perturb(module, self.key, times=FAR if self.parameters == "far" else 1.0)
        return module.to(case.device, self.dtype).train(training)

    def inputs(self, case: Case, *key: str | int, scale: float = 1.0) -> Tensor:
        """What the module reads, B sequences of T tokens."""
        return case.inputs(self.B, self.T, self.key, *key, dtype=self.dtype, scale=scale)

    def mask(self, case: Case, *key: str | int) -> Tensor | None:
        """(B, T) bool, True at padding, or None. Every sequence keeps a token."""
        if self.padding == "none":
            return None
        rng, (B, T) = self.generator("mask", *key), (self.B, self.T)
        position = np.arange(T)
        kept = rng.integers(T - T // 2, T + 1, size=(B, 1))  # tokens that are no padding
        if self.padding == "scattered":
            mask = rng.random((B, T)) < 0.3
            mask[np.arange(B), rng.integers(0, T, size=B)] = False
        else:
            mask = position >= kept if self.padding == "right" else position < T - kept
        return torch.from_numpy(mask).to(case.device)

    def generator(self, *key: str | int) -> np.random.Generator:
        """What choices at this point are drawn from."""
        return numpy_generator(self.key, "point", *key)


def built(case: Case, point: Point, *, training: bool = False) -> nn.Module | None:
    """The module of a point, or None, which is told, where the factory refuses what each axis by itself allows."""
    try:
        return point.module(case, training=training)
    except BadInput as error:
        case.tell(f"not built for {point}: {error}")
        return None


def points(case: Case) -> list[Point]:
    """The points of a case. Raises NotApplicable where the factory refuses them all."""
    rng = numpy_generator(case.seed, "kit", "points")
    axes = _axes(case)
    longest = case.dims.max_len
    wanted = _lengths(longest, rng)
    rows = _rows(axes, len(wanted), rng)
    # A gate that is closed at first hides what is behind it: lengths and sizes of the lists go to rows where it is open.
    opened = [i for i, row in enumerate(rows) if row["parameters"] != "initial"]
    wanted += rng.integers(2, 1 + min(64, longest), size=len(opened) - len(wanted)).tolist()
    lengths = rng.integers(2, 1 + min(64, longest), size=len(rows))
    lengths[opened] = rng.permutation(wanted)
    sizes = _sizes(lengths, [i for i in opened if lengths[i] > 1], rng)
    return [_point(case, i, row, int(sizes[i]), int(lengths[i])) for i, row in enumerate(rows)]


def _point(case: Case, number: int, row: Mapping[str, Any], B: int, T: int) -> Point:
    key = derive(case.seed, "kit", "point", number)
    layers = {"only": 1, "first": 2 + key % 3, "middle": 3 + key % (DEEPEST - 2), "last": 2 + key % (DEEPEST - 1)}[
        row["place"]
    ]
    layer = {"only": 0, "first": 0, "middle": 1 + (key >> 8) % max(1, layers - 2), "last": layers - 1}[row["place"]]
    dims = replace(
        case.dims, heads=row["heads"], layer=layer, layers=layers, positions=row["positions"], dropout=row["dropout"]
    )
    return Point(key, B, T, dims, row["step"], row["padding"], row["parameters"], row["dtype"])


def _axes(case: Case) -> dict[str, Sequence[Any]]:
    """The values of each axis that the factory takes while all else is as the case has it; what it refuses is told."""

    def taken(axis: str, values: Sequence[Any]) -> list[Any]:
        found = []
        for value in values:
            try:
                module = case.build(replace(case.dims, **{axis: value}))
            except BadInput as error:
                case.tell(f"refused: {axis} {value} ({error})")
                continue
            if not (axis == "positions" and value == "rotary" and not getattr(module, "rotary", False)):
                found.append(value)
        if not found:
            raise NotApplicable(f"no {axis} among {', '.join(map(str, values))} suits it")
        return found

    d = case.dims
    heads = sorted({h for h in HEADS if d.width % (8 * h) == 0} | {d.heads})
    positions: tuple[Positions, ...] = ("learned", "rotary", "none")
    attention = case.kind == "attention"
    return {
        "place": PLACES,
        "heads": taken("heads", heads) if attention else [d.heads],
        "positions": taken("positions", positions) if attention else [d.positions],
        "dropout": taken("dropout", sorted({0.0, DROPOUT, d.dropout})) if attention else [d.dropout],
        "step": STEPS,
        "padding": PADDINGS,
        "parameters": PARAMETERS,
        "dtype": (torch.float32, torch.float64),
    }


def _rows(axes: Mapping[str, Sequence[Any]], count: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Rows with one value of each axis, such that every pair of values of two axes occurs.

    count: rows, at least, whose parameters are not the initial ones.
    """

    def pairs(row: Sequence[int]) -> set[tuple[int, int, int, int]]:
        return {(a, row[a], b, row[b]) for a, b in itertools.combinations(range(len(row)), 2)}

    sizes = [len(values) for values in axes.values()]
    missing = {
        (a, i, b, j)
        for a, b in itertools.combinations(range(len(sizes)), 2)
        for i in range(sizes[a])
        for j in range(sizes[b])
    }
    rows: list[list[int]] = []
    parameters = list(axes).index("parameters")
    while missing or sum(row[parameters] > 0 for row in rows) < count:
        candidates = [[int(rng.integers(size)) for size in sizes] for _ in range(CANDIDATES)]
        if missing:  # so that each row covers one at least
            a, i, b, j = sorted(missing)[int(rng.integers(len(missing)))]
            for row in candidates:
                row[a], row[b] = i, j
        best = max(candidates, key=lambda row: len(pairs(row) & missing))
        missing -= pairs(best)
        rows.append(best)
    order = rng.permutation(len(rows))
    return [{name: axes[name][i] for name, i in zip(axes, rows[k], strict=True)} for k in order]


def _lengths(longest: int, rng: np.random.Generator) -> list[int]:
    """Every length of the list that fits, powers of two and their neighbors beyond, the longest, and a few at random."""
    found = set(LENGTHS) | {longest}
    for power in itertools.takewhile(lambda n: n <= longest, (2**k for k in range(8, 31))):
        found |= {power - 1, power, power + 1}
    for low, high in ((10, 63), (66, 190), (194, longest)):
        if low < min(high, longest):
            found.add(int(rng.integers(low, min(high, longest))))
    return sorted(T for T in found if longest >= T)


def _sizes(lengths: np.ndarray, opened: Sequence[int], rng: np.random.Generator) -> list[int]:
    """A size of the batch for each length: of `BATCHES` each once or more in the rows `opened`, the others at random."""
    sizes = [0] * len(lengths)
    for B in sorted((*BATCHES, 1, 1), reverse=True):
        fitting = [i for i in opened if not sizes[i] and (B == 1 or B * lengths[i] <= TOKENS)]
        if fitting:
            sizes[int(rng.choice(fitting))] = B
    for i, T in enumerate(lengths):
        if not sizes[i]:
            sizes[i] = int(rng.integers(1, 1 + min(4, max(1, TOKENS // T))))
    return sizes
