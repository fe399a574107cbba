"""The sweep file: which options of a run are tried with which values, and what the best is chosen by. Imports no torch.

base:                                     # a run, as `lot run --config` takes it
  task: {name: copy_reverse}
  attn: {name: lattice}
grid:                                     # every combination
  optim.lr: {geomspace: [1.0e-4, 1.0e-2, 5]}
  attn.coupling: [0, 0.5, 1]
seeds: 2                                  # runs of each configuration
objective: exact_match                    # on validation; default: the task's primary metric
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from lot.config.yaml import read_yaml
from lot.errors import BadInput
from lot.options.declare import option
from lot.options.validate import structure, unstructure
from lot_cli.study.design.file import name_of, plain_name
from lot_cli.sweep.values import drawn, is_distribution, listed

LIMIT = 256
"""Runs that a sweep may have unless its file or `--limit` says otherwise: a grid of many options is soon a million."""
MOST_DRAWS = 100_000

Values = dict[str, Any]
"""A value for each path that is swept."""


@attrs.frozen(kw_only=True)
class Sweep:
    """A sweep file, validated."""

    name: str = option(help="name of the folder under sweeps/; default: the file's", check=plain_name)
    base: dict[str, Any] = option(help="configuration of a run, in which the sweep changes options")
    grid: dict[str, Any] = option(
        {},
        help="values to try for each path, every combination of them: a list, {linspace: [low, high, number]} or "
        "{geomspace: [low, high, number]}",
    )
    random: dict[str, Any] = option(
        {},
        help="what to draw each path from, in place of a grid: {uniform: [low, high]}, {log_uniform: [low, high]}, "
        "{choice: [values]}, or a list, which is a choice",
    )
    count: int | None = option(None, ge=1, le=MOST_DRAWS, help="number of configurations that a random search draws")
    draw_seed: int = option(
        0, ge=0, help="seed of what is drawn; more draws with the same seed begin with the earlier ones"
    )
    seeds: int | list[int] = option(1, help="number of seeds of each configuration, or the seeds")
    objective: str | None = option(
        None, help="metric of the task to choose by, on validation; null: the task's primary one"
    )
    threads: int = option(1, ge=1, help="CPU threads of each run; part of the numerics, so it does not follow --jobs")
    limit: int = option(LIMIT, ge=1, help="runs at most; a sweep that has more is refused")

    @property
    def seed_list(self) -> list[int]:
        """The seeds of the runs of each configuration."""
        return list(range(self.seeds)) if isinstance(self.seeds, int) else list(self.seeds)

    @property
    def paths(self) -> list[str]:
        """The paths that are swept."""
        return list(self.grid or self.random)

    def to_dict(self) -> dict[str, Any]:
        """Plain data that `sweep_from` turns into an equal sweep."""
        return unstructure(self)


def load_sweep(path: Path) -> Sweep:
    """The sweep in the file `path`. Raises BadInput with the path of what is wrong."""
    data = read_yaml(path)
    _check_kind(data, path)
    return sweep_from(data, default_name=name_of(path, "sweep"))


def sweep_from(data: Any, default_name: str) -> Sweep:
    """A sweep from plain data. Raises BadInput for unknown keys, wrong types, and what no sweep can have."""
    if not isinstance(data, Mapping):
        raise BadInput(where="sweep", expected="a table with base, and grid or random", got=type(data).__name__)
    sweep: Sweep = structure(Sweep, {"name": default_name, **data}, "")
    if bool(sweep.grid) == bool(sweep.random):
        got = "both" if sweep.grid else "neither"
        raise BadInput(where="grid", expected="values to try, under either grid or random", got=got)
    if (sweep.count is None) == bool(sweep.random):
        raise BadInput(
            where="count",
            expected="how many configurations to draw, which a random search needs" if sweep.random else "no number",
            got="none" if sweep.random else f"{sweep.count} beside a grid, which has every combination",
        )
    _check_paths(sweep)
    _check_seeds(sweep.seed_list, sweep.seeds)
    return sweep


def configurations(sweep: Sweep) -> list[Values]:
    """The values of every configuration, in order; a random search leaves out what it drew before.

    Raises BadInput for values that cannot be tried, and for more runs than `limit`.
    """
    if sweep.grid:
        axes = [listed(_for_grid(path, given), f"grid.{path}") for path, given in sweep.grid.items()]
        number = 1
        for axis in axes:
            number *= len(axis)
        _check_limit(sweep, number)
        return [dict(zip(sweep.grid, values, strict=True)) for values in itertools.product(*axes)]
    assert sweep.count is not None
    _check_limit(sweep, sweep.count)
    draws: dict[str, Callable[[int, int], Any]] = {
        path: drawn(given, f"random.{path}") for path, given in sweep.random.items()
    }
    every = [{path: draw(sweep.draw_seed, number) for path, draw in draws.items()} for number in range(sweep.count)]
    return list({json.dumps(values, sort_keys=True): values for values in every}.values())


def short_names(paths: Sequence[str]) -> dict[str, str]:
    """Path -> its last word, or as much of its end as tells it from the others."""
    found = {}
    for path in paths:
        words = path.split(".")
        ends = [".".join(words[-length:]) for length in range(1, len(words) + 1)]
        found[path] = next(
            (end for end in ends if all(other == path or not f".{other}".endswith(f".{end}") for other in paths)), path
        )
    return found


def shown_value(value: Any) -> str:
    """A value as a file has it: `0.001`, `head`, `[1, 2]`."""
    return value if isinstance(value, str) else json.dumps(value)


def _for_grid(path: str, given: Any) -> Any:
    if is_distribution(given):
        raise BadInput(
            where=f"grid.{path}",
            expected="values",
            got="a distribution",
            fix="put the options under random, with a count",
        )
    return given


def _check_kind(data: Any, path: Path) -> None:
    """Say which command takes a file of another kind."""
    if isinstance(data, Mapping) and "arms" in data:
        raise BadInput(where=str(path), expected="a sweep", got="a study", fix="lot study takes it")
    if isinstance(data, Mapping) and "task" in data and "base" not in data:
        raise BadInput(
            where=str(path),
            expected="a sweep",
            got="the configuration of a run",
            fix=f"lot sweep --config {path} --set PATH=VALUE,VALUE sweeps over it",
        )


def _check_paths(sweep: Sweep) -> None:
    for path in (*sweep.paths, *(("seed",) if "seed" in sweep.base else ())):
        if path == "seed":
            raise BadInput(where="seed", expected="no seed in a grid or in base", got="one", fix="use seeds")
    if "task.name" in sweep.paths:
        raise BadInput(
            where="task.name",
            expected="one task",
            got="several",
            fix="make a sweep of each: their scores are of different metrics",
        )
    train = sweep.base.get("train")
    if "train.test" in sweep.paths or (isinstance(train, dict) and "test" in train):
        raise BadInput(where="train.test", expected="not to be given", fix="a sweep never reads the test split")


def _check_seeds(seeds: list[int], given: Any) -> None:
    if isinstance(given, int) and not 1 <= given <= 1000:
        raise BadInput(where="seeds", expected="from 1 to 1000 seeds", got=given)
    if not seeds or len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise BadInput(where="seeds", expected="different seeds, each >= 0", got=seeds)


def _check_limit(sweep: Sweep, number: int) -> None:
    runs = number * len(sweep.seed_list)
    if runs > sweep.limit:
        seeds = f" x {len(sweep.seed_list)} seeds" if len(sweep.seed_list) > 1 else ""
        raise BadInput(
            where="limit",
            expected=f"at most {sweep.limit:,} runs",
            got=f"{number:,} configurations{seeds}, which are {runs:,} runs",
            fix="try fewer values, draw some of them (random, with a count), or raise the limit",
        )
