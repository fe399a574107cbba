"""Finished runs of a sweep whose files are gone: found by their configuration, since no content gives them a key any more."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

from lot.config.kept import KeptFiles
from lot.config.schema import Config
from lot.config.yaml import read_yaml
from lot.errors import BadInput
from lot.runs.kept_model import read_model
from lot_cli.study.design.plan import Run
from lot_cli.sweep.points import Point


def recorded_runs(
    points: Sequence[Point], seeds: Sequence[int], numerics: dict[str, Any], folder: Path
) -> list[list[Run]]:
    """The runs of each configuration, one for each seed; those without files by the configuration in `folder`/KEY/config.yaml.

    Of several with one configuration, whose files were edited in between, it is the newest.
    """
    known = {} if all(point.there for point in points) else _by_configuration(folder)

    def run(point: Point, seed: int) -> Run:
        if point.there:
            return point.run(seed, numerics)
        config = attrs.evolve(point.config, seed=seed)
        key = known.get(_content(config.to_dict()), "gone")
        return Run(arm=point.label, seed=seed, purpose="sweep", config=config, key=key)

    return [[run(point, seed) for seed in seeds] for point in points]


def kept_model(folder: Path) -> KeptFiles | None:
    """What the runs in `folder` keep of the files of their model; None where they keep nothing."""
    for run in _directories(folder):
        try:
            kept = read_model(run)
        except BadInput:  # damaged; another run says the same
            continue
        if kept is not None:
            return kept
    return None


def _by_configuration(folder: Path) -> dict[str, str]:
    found = {}
    for run in _directories(folder):
        try:
            found[_content(read_yaml(run / "config.yaml"))] = run.name
        except BadInput:  # no run, or one that is damaged
            continue
    return found


def _directories(folder: Path) -> list[Path]:
    """The directories in a folder, the newest last."""
    found = [path for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
    return sorted(found, key=lambda path: path.stat().st_mtime)


def _content(tree: Any) -> str:
    """What is the same in two configurations of one run: all but where it is recorded."""
    plain = {key: value for key, value in tree.items() if key != "recorders"} if isinstance(tree, dict) else tree
    return json.dumps(plain, sort_keys=True, default=str)


def reference_run(runs: Sequence[Sequence[Run]], folder: Path) -> tuple[Config, Path] | None:
    """A run that is there, and its directory; None where none is."""
    there = (run for tried in runs for run in tried if (folder / run.key / "config.yaml").is_file())
    return next(((run.config, folder / run.key) for run in there), None)
