"""How often the verdicts of a study err, and how often its intervals hold the truth: simulated studies, whose results are
committed beside this script.

    python tests/statistics/simulate.py            # 2,000 studies each: writes simulations.json and simulations.md
    python tests/statistics/simulate.py --studies 200 --out FOLDER    # a smaller version, as `nox -s statistics` runs it

Each study has a reference and three arms whose runs follow one and the same law, judged in three contrasts with the
reference, as `lot study` judges them (`max_t`). Exit status 1 where a required rate is exceeded by more than two Monte Carlo
standard errors, or where a verdict and its interval disagree.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lot_cli.study.analysis.differences import shape
from lot_cli.study.analysis.looks import SPENT_BY_ONE_LOOK, level_of_unplanned, planned_levels
from lot_cli.study.analysis.max_t import max_t

ALPHA = 0.05
ARMS = 3
PAIRS = (6, 8, 10)
UNPLANNED = range(6, 17)
PLANNED = (6, 10, 16)

Array = NDArray[np.float64]
Law = Callable[[np.random.Generator, tuple[int, ...]], Array]


def two_groups(rng: np.random.Generator, size: tuple[int, ...]) -> Array:
    """A task that fails in three runs of ten."""
    return rng.normal(scale=0.1, size=size) + (rng.random(size) < 0.7)


LAWS: dict[str, Law] = {
    "normal": lambda rng, size: rng.normal(size=size),
    "Laplace": lambda rng, size: rng.laplace(size=size),
    "t3": lambda rng, size: rng.standard_t(3, size=size),
    "exponential": lambda rng, size: rng.exponential(size=size),
    "two groups": two_groups,
}
"""The noise of a run; the same law in all arms, the reference among them, which all contrasts share."""


def differences(rng: np.random.Generator, law: Law, pairs: int, effects: Array) -> Array:
    """Differences (3, pairs) of three arms from a reference; effects (3,) in the unit of the noise."""
    runs = law(rng, (ARMS + 1, pairs))
    return runs[1:] - runs[0] + effects[:, None]


class Tally:
    """Counts over the studies of one setting."""

    def __init__(self, studies: int) -> None:
        self.studies = studies
        self.errors = self.covered = self.disagreed = self.shaped = 0

    def add(self, d: Array, level: float, effects: Array, earlier: list[tuple[Array, float]] | None = None) -> bool:
        """Count one analysis; whether it called a contrast without an effect different."""
        found = max_t(d, level, earlier or [])
        low, high = found.interval()
        self.disagreed += int((((low <= 0) & (high >= 0)) != (found.p > level)).any())
        self.covered += bool(((low <= effects) & (effects <= high)).all())
        return bool((found.p[effects == 0] <= level).any())

    def row(self, **setting: Any) -> dict[str, Any]:
        """The rates of the setting."""
        return {**setting, "studies": self.studies, "error": self.errors / self.studies, "disagreed": self.disagreed}


def one_look(rng: np.random.Generator, law: str, pairs: int, effects: Array, studies: int) -> dict[str, Any]:
    """Family-wise error over the contrasts without an effect, and how often all intervals hold the truth."""
    tally = Tally(studies)
    for _ in range(studies):
        d = differences(rng, LAWS[law], pairs, effects)
        tally.errors += tally.add(d, ALPHA, effects)
        tally.shaped += sum(shape(row) != "" for row in d)
    found = tally.row(setting="one look", law=law, pairs=pairs, effects=effects.tolist())
    return {**found, "coverage": tally.covered / studies, "asymmetry told": tally.shaped / studies / ARMS}


def planned_looks(rng: np.random.Generator, law: str, effects: Array, studies: int) -> dict[str, Any]:
    """Error at any of the planned looks at 6, 10 and 16 pairs."""
    tally = Tally(studies)
    for _ in range(studies):
        d = differences(rng, LAWS[law], PLANNED[-1], effects)
        looks = [(d[:, :pairs], level) for pairs, level in planned_levels(ALPHA, 1.0, PLANNED).items()]
        tally.errors += sum(tally.add(*look, effects, looks[:place]) for place, look in enumerate(looks)) > 0
    return tally.row(setting="planned looks", law=law, pairs=list(PLANNED), effects=effects.tolist())


def levels_of_looks(looks: int) -> list[float]:
    """What each look may spend in a study whose file names none."""
    unplanned = [level_of_unplanned(ALPHA, SPENT_BY_ONE_LOOK, before) for before in range(looks - 1)]
    return [*planned_levels(ALPHA, SPENT_BY_ONE_LOOK, [1]).values(), *unplanned]


def unplanned_looks(rng: np.random.Generator, law: str, first: int, studies: int) -> dict[str, Any]:
    """Error at any look, after every pair from `first` to 16: the first one is the plan, the others are not planned."""
    tally, none = Tally(studies), np.zeros(ARMS)
    for _ in range(studies):
        d = differences(rng, LAWS[law], UNPLANNED[-1], none)
        looks = range(first, UNPLANNED[-1] + 1)
        # A study that has erred is not looked at again.
        tally.errors += any(
            tally.add(d[:, :n], level, none) for n, level in zip(looks, levels_of_looks(len(looks)), strict=True)
        )
    return tally.row(setting="unplanned looks", law=law, pairs=[first, UNPLANNED[-1]], effects=none.tolist())


def other_arms(rng: np.random.Generator, law: str, studies: int) -> dict[str, Any]:
    """Error at any of eleven looks, each at other arms in runs of their own: what one shows says nothing of the next, which
    is the worst case of looks that were not planned."""
    tally, none = Tally(studies), np.zeros(ARMS)
    for _ in range(studies):
        tally.errors += any(
            tally.add(differences(rng, LAWS[law], 14, none), level, none) for level in levels_of_looks(11)
        )
    return tally.row(setting="unplanned looks at other arms", law=law, pairs=14, effects=none.tolist())


def skewed_arms(rng: np.random.Generator, pairs: int, studies: int) -> dict[str, Any]:
    """Equal means and unequal skew, which the test takes for a difference: reported, and not required."""
    tally, none = Tally(studies), np.zeros(ARMS)
    for _ in range(studies):
        d = rng.exponential(size=(ARMS, pairs)) - 1 - rng.normal(scale=0.1, size=pairs)
        tally.errors += tally.add(d, ALPHA, none)
        tally.shaped += sum(shape(row) != "" for row in d)
    found = tally.row(
        setting="unequal skew, equal means", law="exponential against normal", pairs=pairs, effects=[0.0] * 3
    )
    return {**found, "coverage": tally.covered / studies, "asymmetry told": tally.shaped / studies / ARMS}


def simulate(studies: int) -> Iterator[dict[str, Any]]:
    """The rates of every setting, each from a generator of its own."""
    none, mixed = np.zeros(ARMS), np.array([0.0, 0.0, 2.0])

    def rng(*key: int) -> np.random.Generator:
        return np.random.default_rng([2026, *key])

    for place, law in enumerate(LAWS):
        for pairs in PAIRS:
            for kind, effects in enumerate((none, mixed)):
                yield one_look(rng(0, place, pairs, kind), law, pairs, effects, studies)
        for kind, effects in enumerate((none, mixed)):
            yield planned_looks(rng(1, place, kind), law, effects, studies)
        for first in (6, 8, 10):
            yield unplanned_looks(rng(2, place, first), law, first, studies)
        yield other_arms(rng(4, place), law, studies)
    for pairs in PAIRS:
        yield skewed_arms(rng(3, pairs), pairs, studies)


def limit(studies: int) -> float:
    """The largest rate that counts as alpha: two Monte Carlo standard errors above it; four for the smaller version,
    in which one of so many rates would often be that far off by chance."""
    return ALPHA + (2 if studies >= 2000 else 4) * math.sqrt(ALPHA * (1 - ALPHA) / studies)


def failures(rows: list[dict[str, Any]]) -> Iterator[str]:
    """A line for each row that is not as required."""
    for row in rows:
        name = f"{row['setting']}, {row['law']}, {row['pairs']} pairs, effects {row['effects']}"
        if row["disagreed"]:
            yield f"{name}: verdict and interval disagree in {row['disagreed']} analyses"
        if row["setting"].startswith("unequal"):
            continue
        most = limit(row["studies"])
        if row["error"] > most:
            yield f"{name}: error {row['error']:.4f} above {most:.4f}"
        if row.get("coverage", 1.0) < 1 - most:
            yield f"{name}: coverage {row['coverage']:.4f} below {1 - most:.4f}"


def table(rows: list[dict[str, Any]]) -> str:
    """The rates as Markdown."""
    studies = rows[0]["studies"]
    lines = [
        "# How often verdicts err",
        "",
        f"Written by `python tests/statistics/simulate.py`, {studies:,} studies for each row. Three arms and a reference that",
        "they share; all runs follow the same law. Effects are in the unit of the noise. *Error*: the share of studies that call",
        f"a contrast without an effect different, at any look; required: at most {limit(studies):.4f}, which is 0.05 and two Monte",
        "Carlo standard errors. *Coverage*: all intervals hold the truth; required: at least",
        f"{1 - limit(studies):.4f}. *Asymmetry told*: the share of contrasts whose differences are called skewed or split.",
        "*Disagreed*: analyses in which verdict and interval disagree; required: 0.",
        "",
        "Of unequal skew nothing is required: the test is of exchangeability, and such arms are not exchangeable.",
        "",
        "| setting | law | pairs | effects | error | coverage | asymmetry told | disagreed |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        pairs = ", ".join(map(str, row["pairs"])) if isinstance(row["pairs"], list) else str(row["pairs"])
        pairs = pairs.replace(", ", " to ") if row["setting"] == "unplanned looks" else pairs
        effects = ", ".join(f"{effect:g}" for effect in row["effects"])
        rates = [f"{row[key]:.4f}" if key in row else "" for key in ("error", "coverage", "asymmetry told")]
        lines.append(f"| {' | '.join([row['setting'], row['law'], pairs, effects, *rates, str(row['disagreed'])])} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Simulate, write both files, and say what is not as required."""
    parser = argparse.ArgumentParser(description="Simulate studies and count wrong verdicts.")
    parser.add_argument("--studies", type=int, default=2000, help="studies for each row")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder of the results")
    options = parser.parse_args()
    rows = list(simulate(options.studies))
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "simulations.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    (options.out / "simulations.md").write_text(table(rows), encoding="utf-8")
    found = list(failures(rows))
    print("\n".join(found) or "all rates are as required")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
