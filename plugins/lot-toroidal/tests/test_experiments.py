"""The experiments of this package: every run and every arm of a study loads, and takes a step at a small size."""

from __future__ import annotations

import copy
import itertools
from pathlib import Path
from typing import Any

import pytest
import torch

from lot import Context, load_config, registry
from lot.config.yaml import read_yaml
from lot.training.compose import compose

FOLDER = Path(__file__).parents[3] / "experiments" / "toroidal"
STUDIES = sorted(FOLDER.glob("study*.yaml"))
RUNS = sorted(set(FOLDER.glob("*.yaml")) - set(STUDIES))
SMALL = ["train.batch_size=2", "task.seq_len=96", "model.layers=1"]

pytestmark = pytest.mark.skipif(
    not RUNS or "periodic" not in registry().names("task"), reason="needs the source tree and lot-tasks"
)


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`base` with `changes`; a table of another component replaces the one that was there."""
    result = copy.deepcopy(base)
    for key, value in changes.items():
        other = isinstance(value, dict) and value.get("name", "") != result.get(key, {}).get("name", "")
        result[key] = value if other or not isinstance(value, dict) else {**result.get(key, {}), **value}
    return result


def arms() -> list[tuple[str, dict[str, Any], list[str]]]:
    """Every arm of every study: its name, its configuration, and the overrides of its grid."""
    found = []
    for file in STUDIES:
        study = read_yaml(file)
        for name, arm in study["arms"].items():
            arm = dict(arm or {})
            grid = arm.pop("grid", {})
            for values in itertools.product(*grid.values()):
                chosen = [f"{path}={str(value).lower()}" for path, value in zip(grid, values, strict=True)]
                found.append((" ".join((file.stem, name, *chosen)), merged(study["base"], arm), chosen))
    return found


def take_a_step(source: Any, overrides: list[str]) -> None:
    parts = compose(load_config(source, overrides=overrides))
    batch = parts.task.batch("train", 0, 2)
    ctx = Context()
    total, _ = parts.objective(parts.model.train()(batch.inputs, ctx), batch, ctx, 0)
    total.backward()
    assert torch.isfinite(total)
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in parts.model.parameters())


@pytest.mark.parametrize("file", RUNS, ids=lambda path: path.stem)
def test_a_run_takes_a_step(file: Path) -> None:
    take_a_step(file, SMALL)


@pytest.mark.parametrize(("config", "overrides"), [arm[1:] for arm in arms()], ids=[arm[0] for arm in arms()])
def test_an_arm_takes_a_step(config: dict[str, Any], overrides: list[str]) -> None:
    take_a_step(config, [*SMALL, *overrides])
