"""Tunes every arm alike: the same values, seeds and runs for each, in grids that go on where the best value lies at their edge.

What one arm needs, all arms get: a value that is tried beyond the edge is tried for every arm, so that no arm has more
tries than another. Which value is taken is decided in `analysis.tuning`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from lot.errors import BadInput
from lot_cli.study.analysis.tuning import choose
from lot_cli.study.assemble import Checked
from lot_cli.study.design.check_fairness import check_trial, look_at
from lot_cli.study.design.file import Study
from lot_cli.study.design.grids import EXTENSIONS, Edge, edge_of, extended_paths, next_value
from lot_cli.study.execution.make import RunMaker
from lot_cli.study.result import Grid, Tuning

Values = dict[str, Any]
"""A value for each tuned path."""
Vouch = Callable[[Sequence[Values]], None]


@attrs.frozen(kw_only=True)
class Tuned:
    """What tuning chose and how far it looked."""

    arms: dict[str, Tuning]  # name of an arm -> what was chosen for it
    grids: list[Grid]  # in the order of the file
    runs: int  # of each arm


def tune(checked: Checked, maker: RunMaker, vouch: Vouch) -> Tuned:
    """For every arm the values that are best in the main metric on validation; empty where the study tunes nothing.

    vouch: called with what an extended grid would try; raises BadInput where an arm may not run with it.
    """
    study = checked.study
    if not study.tune:
        return Tuned(arms={arm.name: Tuning(values={}, trials=[]) for arm in checked.arms}, grids=[], runs=0)
    trials = study.trials()
    grids = [Grid(path=path, given=list(values), added=[], ends={}) for path, values in study.tune.items()]
    for extension in range(EXTENSIONS + 1):
        chosen = _choose(checked, maker, trials)
        edges = _edges(study, grids, chosen)
        if extension == EXTENSIONS:
            limit = f"the grids were extended {EXTENSIONS} times, which is the limit"
            grids = [_ended(grid, dict.fromkeys(edges.get(grid.path, []), limit)) for grid in grids]
            break
        wider = [_extend(checked, grid, edges.get(grid.path, []), trials, vouch) for grid in grids]
        if [grid.added for grid in wider] == [grid.added for grid in grids]:
            grids = wider
            break
        grids = wider
        trials = _product(grids, trials)
    for name, tuning in chosen.items():
        maker.tell("tuned", {"arm": name, "values": tuning.values})
    return Tuned(arms=chosen, grids=grids, runs=len(trials) * study.tune_seeds)


def most_trials(study: Study) -> int:
    """The number of trials of each arm where every grid that may be extended is, at both ends, as often as it may."""
    numeric = extended_paths(study.extend, study.tune)
    sizes = [
        len(values) + (2 * EXTENSIONS if path in numeric and next_value(values, "largest") is not None else 0)
        for path, values in study.tune.items()
    ]
    total = 1
    for size in sizes:
        total *= size
    return total


def _choose(checked: Checked, maker: RunMaker, trials: Sequence[Values]) -> dict[str, Tuning]:
    main, higher = next(iter(checked.metrics.items()))
    attempts = {
        arm.name: [
            (values, [maker.address(arm, seed, values, "tune") for seed in checked.study.tuning_seeds])
            for values in trials
        ]
        for arm in checked.arms
    }
    outcomes = maker.make([run for table in attempts.values() for _, runs in table for run in runs])
    return {name: choose(table, outcomes, maker.runs, main, higher) for name, table in attempts.items()}


def _edges(study: Study, grids: Sequence[Grid], chosen: Mapping[str, Tuning]) -> dict[str, list[Edge]]:
    """Path -> the edges at which the best value of some arm lies. An arm without a finite score asks for nothing."""
    found: dict[str, list[Edge]] = {}
    for grid in grids:
        if grid.path in extended_paths(study.extend, study.tune):
            sound = [tuning.values[grid.path] for tuning in chosen.values() if _best_score(tuning) is not None]
            edges = (edge_of(value, grid.tried) for value in sound)
            found[grid.path] = list(dict.fromkeys(edge for edge in edges if edge is not None))
    return found


def _best_score(tuning: Tuning) -> float | None:
    return next(trial.score for trial in tuning.trials if trial.chosen)


def _extend(checked: Checked, grid: Grid, edges: Sequence[Edge], trials: Sequence[Values], vouch: Vouch) -> Grid:
    """The grid with the next value at each of the edges; where there is none, with why."""
    added, ends = list(grid.added), dict(grid.ends)
    for edge in edges:
        value = next_value(grid.tried, edge)
        if value is None:
            ends[edge] = "the grid has no ratio of its own to be extended by"
        elif (bound := _bound(checked, grid.path, value, trials, vouch)) is not None:
            ends[edge] = f"{value:g} cannot be tried ({bound})"
        else:
            added.append(value)
    return attrs.evolve(grid, added=added, ends=ends)


def _bound(checked: Checked, path: str, value: float, trials: Sequence[Values], vouch: Vouch) -> str | None:
    """Why some arm cannot have the value with what else is tried; None where all can."""
    seed = checked.study.seed_list[0]
    wider: list[Values] = []
    for values in trials:
        if (changed := {**values, path: value}) not in wider:
            wider.append(changed)
    try:
        for arm in checked.arms:
            seen = look_at(arm, seed)
            for changed in wider:
                arm.config(seed, changed)
                check_trial(checked.study, arm, seen, seed, changed)
        vouch(wider)
    except BadInput as error:
        return str(error).splitlines()[0]
    return None


def _ended(grid: Grid, why: Mapping[Edge, str]) -> Grid:
    return attrs.evolve(grid, ends={**grid.ends, **{edge: text for edge, text in why.items() if edge not in grid.ends}})


def _product(grids: Sequence[Grid], trials: Sequence[Values]) -> list[Values]:
    """Every combination; those that were tried come first, in their order, since of equal ones the first is taken."""
    combinations = itertools.product(*(grid.tried for grid in grids))
    every = [dict(zip((grid.path for grid in grids), values, strict=True)) for values in combinations]
    return [*trials, *(values for values in every if values not in trials)]
