"""The study file: what is compared, on what, how often, and what counts. Imports no torch.

question: Do oscillating heads help to copy?
base:                                     # a run, as `lot run --config` takes it; shared by every arm
  task: {name: copy_reverse}
  train: {steps: 400}
arms:                                     # what an arm changes in it
  vanilla: {attn: {name: vanilla}}
  lattice: {attn: {name: lattice}, grid: {attn.coupling: [0.3, 1.0]}}
seeds: 8
metrics: [exact_match, loss]
tune: {optim.lr: [3.0e-4, 1.0e-3]}        # on validation, spent equally by every arm
"""

from __future__ import annotations

import copy
import itertools
import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import NoneType
from typing import Any

import attrs

from lot.config.schema import DEFAULT_NAMES
from lot.config.yaml import read_yaml
from lot.errors import BadInput
from lot.options.declare import option
from lot.options.validate import structure, unstructure
from lot_cli.study.design.contrasts import check_contrasts, check_looks
from lot_cli.study.design.grids import check_extension
from lot_cli.study.design.matching import Match, Matched, Matching, check_matching, matching_of
from lot_cli.study.design.worth import neutral_arms

TUNABLE = (
    "optim.",
    "losses.",
    "attn.",
    "embed.",
    "model.dropout",
    "train.clip",
    "train.warmup",
    "train.decay",
    "train.min_lr_ratio",
)
"""Paths, or beginnings of paths, that may be tuned: none of them changes the data or the number of
steps (and what resizes a model is refused when the arms are composed)."""

TOLERANCE = 0.01
"""The relative difference of parameters that counts as equal unless a file says otherwise."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=,+-]*")


def plain_name(value: str | None) -> str | None:
    """What a name that can be that of a folder would have been, or None where it is one."""
    fits = value is None or _NAME.fullmatch(value)
    return None if fits else "letters, digits and . _ = , + - only, beginning with a letter or digit"


def name_of(file: Path, usual: str) -> str:
    """The name that a file without one has: its own, or that of its folder where it is called `usual`. What no name can hold
    becomes a dash."""
    given = file.resolve().parent.name if file.stem == usual else file.stem
    return given if plain_name(given) is None else re.sub(r"[^A-Za-z0-9._=,+]+", "-", given).strip("-._=,+") or usual


@attrs.frozen(kw_only=True)
class Claim:
    """A published figure, shown beside what was measured."""

    arm: str = option(help="name of the arm")
    metric: str = option(help="metric of the task, on the test split")
    value: float = option(help="the figure")
    source: str = option(help="where it was published")


@attrs.frozen(kw_only=True)
class Study:
    """A study file, validated; `arms` with their grids expanded."""

    name: str = option(help="name of the folder under studies/; default: the file's", check=plain_name)
    question: str = option("", help="what the study asks")
    hypotheses: list[str] = option([], help="what is expected, for registration")
    base: dict[str, Any] = option({}, help="configuration that every arm begins with")
    arms: dict[str, dict[str, Any] | None] = option(
        help="what each arm changes; grid: {PATH: [VALUES]} makes several arms"
    )
    reference: str | None = option(None, help="arm that the others are compared with; null: the first vanilla one")
    contrasts: list[list[str]] | None = option(
        None, help="pairs of arms to compare, as in [lattice, vanilla]; null: every arm against the reference"
    )
    seeds: int | list[int] = option(8, help="number of seeds, or the seeds")
    looks: list[int] | None = option(
        None,
        help="rising numbers of pairs at which to judge, the last of them all seeds; null: at all seeds, with a fifth of "
        "alpha kept for looks that are not planned",
    )
    metrics: list[str] = option(
        [], help="metrics to judge, the main one first; empty: the task's primary one, and loss"
    )
    tune: dict[str, list[Any]] = option(
        {}, help="values to try for each path, for every arm; the best in the main metric on validation is taken"
    )
    extend: list[str] | None = option(
        None,
        help="paths under `tune` whose grid goes on where its best value lies at the edge; null: all grids of numbers",
    )
    tune_seeds: int = option(3, ge=1, le=64, help="number of seeds per trial; none of them is a seed of the study")
    equivalence: dict[str, float] = option({}, help="metric -> difference that is too small to matter")
    claims: list[Claim] = option([], help="published figures")
    worth: list[str] = option(
        [],
        help="arms to compare with the same arm trained with its mechanism left out (train.neutral), added as ARM-neutral",
    )
    reliance: bool = option(
        False, help="measure how far the trained models of every arm rely on their mechanism, as lot ablate does"
    )
    caveats: list[str] = option(
        [], help="what a reader must know to read the result rightly; stands beside the verdicts"
    )
    differs: dict[str, str] = option(
        {},
        help="path in which arms may differ on purpose -> why; `parameters` is one too, and so are what passports find: "
        "`gradients`, `state`, `passes`, `objective`",
    )
    match: Match | list[Matched] = option(
        "parameters",
        help="what arms have alike: `parameters` by the width of the MLP, `time` or `flops` by the number of steps, a list "
        "of a size and a budget such as [parameters, time], or `none`",
    )
    equal_time: bool = option(
        False,
        help="compare at equal time too: each contrast again, its second arm trained for as long as its first takes",
    )
    timing_rounds: int = option(
        12,
        ge=6,
        le=1000,
        help="rounds of timed training steps by which equal time is calibrated, once; two in each process",
    )
    tolerance: float = option(TOLERANCE, gt=0, lt=1, help="relative difference of parameters that counts as equal")
    alpha: float = option(0.05, gt=0, lt=1, help="error rate over all comparisons and planned looks")
    threads: int = option(1, ge=1, help="CPU threads of each run; part of the numerics, so it does not follow --jobs")

    @property
    def seed_list(self) -> list[int]:
        """The seeds of the runs that are reported."""
        return list(range(self.seeds)) if isinstance(self.seeds, int) else list(self.seeds)

    @property
    def tuning_seeds(self) -> list[int]:
        """Seeds that only tuning uses: a choice is never reported on the draw that it was made on."""
        first = max(self.seed_list) + 1
        return list(range(first, first + self.tune_seeds))

    @property
    def matching(self) -> Matching:
        """What `match` says."""
        return matching_of(self.match)

    def to_dict(self) -> dict[str, Any]:
        """Plain data that `study_from` turns into an equal study."""
        return unstructure(self)

    def trials(self) -> list[dict[str, Any]]:
        """Every combination of the values to tune, by path; [{}] where nothing is tuned."""
        return [dict(zip(self.tune, values, strict=True)) for values in itertools.product(*self.tune.values())]


def load_study(path: Path) -> Study:
    """The study in the file `path`. Raises BadInput with the path of what is wrong."""
    return study_from(read_yaml(path), default_name=name_of(path, "study"))


def study_from(data: Any, default_name: str) -> Study:
    """A study from plain data.

    Raises BadInput for unknown keys, wrong types, and what no study can have.
    """
    if not isinstance(data, Mapping):
        raise BadInput(where="study", expected="a table with base, arms, seeds ...", got=type(data).__name__)
    _check_plain(data, "")
    study: Study = structure(Study, {"name": default_name, **data}, "")
    expanded = list(_expand(study.arms))
    study = attrs.evolve(study, arms=dict(expanded))
    if len(study.arms) < len(expanded):
        names = [name for name, _ in expanded]
        twice = next(name for name in names if names.count(name) > 1)
        raise BadInput(where="arms", expected="arms of different names", got=f"{twice!r} twice, from a grid")
    study = attrs.evolve(study, arms={**study.arms, **neutral_arms(study.arms, study.worth)})
    _check_seeds(study)
    _check_tune(study)
    _check_names(study)
    check_contrasts(study.contrasts, study.arms)
    check_looks(study.looks, len(study.seed_list))
    check_matching(study.match, study.equal_time, study.arms)
    check_extension(study.extend, study.tune)
    return study


def _expand(arms: Mapping[str, dict[str, Any] | None]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and table of every arm.

    An arm with a grid comes once per combination: `lattice,coupling=0.3`.
    """
    for name, table in arms.items():
        if expected := plain_name(name):
            raise BadInput(where="arms", expected=f"names of {expected}", got=repr(name))
        table = copy.deepcopy(table or {})
        grid = table.pop("grid", {})
        if not isinstance(grid, dict) or not all(isinstance(values, list) and values for values in grid.values()):
            raise BadInput(where=f"arms.{name}.grid", expected="a table from path to a list of values", got=repr(grid))
        for values in itertools.product(*grid.values()):
            label, arm = name, copy.deepcopy(table)
            for path, value in zip(grid, values, strict=True):
                set_path(arm, path, value, f"arms.{name}.grid")
                text = re.sub(r"[^A-Za-z0-9._+-]", "", value if isinstance(value, str) else json.dumps(value))
                label += f",{path.rpartition('.')[2]}={text}"
            yield label, arm


def set_path(tree: dict[Any, Any], path: str, value: Any, where: str) -> None:
    """Set the value at the dotted `path` of nested tables; tables on the way are made."""
    *keys, last = (int(key) if key.isdecimal() else key for key in path.split("."))  # layers have numbers
    for key in keys:
        tree = tree.setdefault(key, {})
        if not isinstance(tree, dict):
            raise BadInput(where=f"{where}.{path}", expected=f"{key} to be a table", got=repr(tree))
    tree[last] = value


def merge(base: Mapping[str, Any], arm: Mapping[str, Any]) -> dict[str, Any]:
    """`base` as the arm changes it.

    Tables are merged, but a table that names another component replaces that of `base`.
    """
    merged = copy.deepcopy(dict(base))
    for key, value in arm.items():
        current = merged.get(key)
        if isinstance(current, dict) and isinstance(value, dict):
            other = "name" in value and value["name"] != current.get("name", DEFAULT_NAMES.get(key))
            merged[key] = copy.deepcopy(value) if other else merge(current, value)
        else:
            merged[key] = copy.deepcopy(value)
    return merged


def _check_plain(tree: Any, path: str) -> None:
    """Raises BadInput for a value that the result could not hold as JSON: a date, an infinity,
    NaN."""
    if isinstance(tree, (Mapping, list)):
        for key, value in tree.items() if isinstance(tree, Mapping) else enumerate(tree):
            _check_plain(value, f"{path}.{key}" if path else str(key))
    elif isinstance(tree, float) and not math.isfinite(tree):
        raise BadInput(where=path, expected="a finite number", got=tree)
    elif not isinstance(tree, (str, int, float, NoneType)):
        raise BadInput(where=path, expected="text or a number", got=repr(tree))


def _check_seeds(study: Study) -> None:
    if isinstance(study.seeds, int) and not 0 <= study.seeds <= 1000:
        raise BadInput(where="seeds", expected="from 2 to 1000 seeds", got=study.seeds)
    seeds = study.seed_list
    if len(seeds) < 2:
        raise BadInput(
            where="seeds",
            expected="at least 2 seeds (5 for a verdict)",
            got=len(seeds),
            fix="one run shows nothing of the noise between runs",
        )
    if len(set(seeds)) < len(seeds) or min(seeds) < 0:
        raise BadInput(where="seeds", expected="different seeds, each >= 0", got=seeds)


def _check_tune(study: Study) -> None:
    for path, values in study.tune.items():
        if path == "train.test" or path.startswith("task"):
            raise BadInput(
                f"tuning reads training and validation data only; {path!r} would change that", where=f"tune.{path}"
            )
        if path.startswith("attn.") and path.endswith(".name"):
            raise BadInput(
                where=f"tune.{path}", expected="no mechanism, since mechanisms are compared as arms", got=repr(path)
            )
        if not path.startswith(TUNABLE):
            raise BadInput(
                where=f"tune.{path}", expected=f"a path that begins with {', '.join(TUNABLE)}", got=repr(path)
            )
        if not values:
            raise BadInput(where=f"tune.{path}", expected="a list of values to try", got="none")


def _check_names(study: Study) -> None:
    """Names of arms and metrics that other parts of the file use."""
    arms = ", ".join(study.arms)
    for name, where in [
        (study.reference, "reference"),
        *((c.arm, f"claims.{i}.arm") for i, c in enumerate(study.claims)),
    ]:
        if name is not None and name not in study.arms:
            raise BadInput(where=where, expected=f"one of the arms {arms}", got=repr(name))
    if len(study.arms) < 2:
        raise BadInput(where="arms", expected="at least two arms, one of them vanilla", got=arms or "none")
    for metric, margin in study.equivalence.items():
        if not margin > 0:
            raise BadInput(where=f"equivalence.{metric}", expected="a margin > 0", got=margin)
    if len(set(study.metrics)) < len(study.metrics):
        raise BadInput(where="metrics", expected="each metric once", got=study.metrics)
