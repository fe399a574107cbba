"""The configurations of a sweep, each resolved and checked as far as that needs no torch. Imports no torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import attrs

from lot.config.check import check_options
from lot.config.kept import KeptFiles
from lot.config.schema import Config
from lot.errors import BadInput
from lot_cli.study.design.plan import Run, configure, run_key
from lot_cli.sweep.file import Sweep, Values, configurations, short_names, shown_value


@attrs.frozen(kw_only=True)
class Point:
    """One configuration of a sweep."""

    values: Values  # by path
    label: str  # what messages call it: `lr=0.001, coupling=0.5`
    config: Config  # of its first seed; it does not test
    there: bool = True  # whether the files that its options name are there

    def run(self, seed: int, numerics: dict[str, Any]) -> Run:
        """Its run with a seed, addressed by content as those of a study are."""
        config = attrs.evolve(self.config, seed=seed)
        return Run(arm=self.label, seed=seed, purpose="sweep", config=config, key=run_key(config, numerics))


def points_of(sweep: Sweep, *, finished: KeptFiles | bool = False) -> list[Point]:
    """Every configuration of a sweep, in order. Raises BadInput for one that cannot be, and for two that are the same run.

    finished: whether it is about runs that are made, so that no file need be there; or what they keep of those of their model.
    """
    names = short_names(sweep.paths)
    found: dict[str, Point] = {}
    for values in configurations(sweep):
        label = ", ".join(f"{names[path]}={shown_value(value)}" for path, value in values.items())
        config, there = _checked(sweep, values, label, finished)
        content = json.dumps(config.to_dict(), sort_keys=True, default=str)
        if content not in found:
            found[content] = Point(values=values, label=label, config=config, there=there)
        elif sweep.grid:
            raise BadInput(
                where="grid",
                expected="configurations that differ",
                got=f"{found[content].label} and {label}, which are one",
            )
    return list(found.values())


def runs_of(points: Sequence[Point], seeds: Sequence[int], numerics: dict[str, Any]) -> list[list[Run]]:
    """The runs of each configuration, one for each seed."""
    return [[point.run(seed, numerics) for seed in seeds] for point in points]


def _checked(sweep: Sweep, values: Values, label: str, finished: KeptFiles | bool) -> tuple[Config, bool]:
    """A configuration, and whether the files that it names are there."""
    try:
        config = configure(sweep.base, sweep.seed_list[0], values, test=False)
        check_options(config)
    except BadInput as error:
        if finished and (kept := _without_files(sweep, values, finished)) is not None:
            return kept, False
        if any(error.where == path or error.where.startswith(f"{path}.") for path in values):
            raise  # it names the option
        if len(sweep.paths) and _base_is_sound(sweep):
            raise BadInput(f"with {label}: {error}") from None
        raise
    return config, True


def _without_files(sweep: Sweep, values: Values, finished: KeptFiles | bool) -> Config | None:
    """The configuration whatever files are gone; None where something else is wrong with it."""
    kept = None if isinstance(finished, bool) else finished
    try:
        return configure(sweep.base, sweep.seed_list[0], values, test=False, kept=kept)
    except BadInput:
        return None


def _base_is_sound(sweep: Sweep) -> bool:
    """Whether the configuration can be without the values of the sweep: they are then what is wrong."""
    try:
        check_options(configure(sweep.base, sweep.seed_list[0], {}, test=False))
    except BadInput:
        return False
    return True
