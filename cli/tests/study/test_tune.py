"""Tuning goes on where the best value lies at the edge of a grid, for every arm alike, and says where it ended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from study_support import make, small

from lot_cli.study import tune as module
from lot_cli.study.analysis.tuning import choose
from lot_cli.study.tune import most_trials

pytest.importorskip("lot_tasks")
QUICK: dict[str, Any] = {"claims": None, "equivalence": None, "seeds": 2, "extend": None}


@pytest.fixture
def best(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Values by path: the trial nearest to them has the best score. Runs are made as they are."""
    wanted: dict[str, Any] = {}

    def nearest(attempts: Any, *others: Any) -> Any:
        tuning = choose(attempts, *others)
        key = next(iter(attempts))[1][0].arm
        aim = wanted.get(key, wanted)

        def distance(values: dict[str, float]) -> float:
            return sum(abs(values[path] / aim[path] - 1) for path in aim if path in values)

        place = min(range(len(tuning.trials)), key=lambda p: distance(tuning.trials[p].values))
        import attrs

        trials = [attrs.evolve(trial, chosen=p == place) for p, trial in enumerate(tuning.trials)]
        return attrs.evolve(tuning, values=trials[place].values, trials=trials)

    monkeypatch.setattr(module, "choose", nearest)
    return wanted


def test_the_grid_follows_the_best_value_for_every_arm_alike(tmp_path: Path, best: dict[str, Any]) -> None:
    best.update(vanilla={"optim.lr": 1e-2}, smooth={"optim.lr": 0.1})
    result = make(small(**QUICK, tune={"optim.lr": [1e-3, 1e-2]}), tmp_path)
    (grid,) = result.grids
    assert (grid.given, grid.added, grid.ends) == ([1e-3, 1e-2], [0.1, 1.0], {})
    for arm in result.arms.values():
        assert [trial.values["optim.lr"] for trial in arm.tuned.trials] == [1e-3, 1e-2, 0.1, 1.0]
    assert result.arms["smooth"].tuned.values == {"optim.lr": 0.1}
    assert result.fairness.budget.tuning_runs == 4
    assert not [line for line in result.warnings if "edge" in line]
    again = make(small(**QUICK, tune={"optim.lr": [1e-3, 1e-2]}), tmp_path)
    assert again.grids == result.grids


def test_a_best_value_that_runs_away_stops_at_three_extensions(tmp_path: Path, best: dict[str, Any]) -> None:
    best["optim.lr"] = 1e-9
    result = make(small(**QUICK, tune={"optim.lr": [1e-3, 1e-2]}), tmp_path)
    assert result.grids[0].added == [1e-4, 1e-5, 1e-6]
    assert (
        "smooth: best at the edge: tuning chose the least optim.lr that was tried, 1e-06; "
        "the grids were extended 3 times, which is the limit" in result.warnings
    )


def test_a_grid_ends_at_the_bound_of_its_option(tmp_path: Path, best: dict[str, Any]) -> None:
    best["model.dropout"] = 0.5
    result = make(small(**QUICK, tune={"model.dropout": [0.25, 0.5]}), tmp_path)
    assert result.grids[0].added == []
    (line,) = [line for line in result.warnings if line.startswith("vanilla: best at the edge")]
    assert "1 cannot be tried (arms.vanilla.model.dropout: expected a number >= 0 and < 1" in line


def test_every_combination_of_an_extended_grid_is_tried(tmp_path: Path, best: dict[str, Any]) -> None:
    best.update({"optim.lr": 0.1, "train.min_lr_ratio": 0.2})
    tune = {"optim.lr": [1e-3, 1e-2], "train.min_lr_ratio": [0.1, 0.2, 0.3]}
    result = make(small(**QUICK, tune=tune), tmp_path)
    trials = [tuple(trial.values.values()) for trial in result.arms["vanilla"].tuned.trials]
    assert trials[:6] == [(lr, ratio) for lr in (1e-3, 1e-2) for ratio in (0.1, 0.2, 0.3)]
    assert sorted(trials) == sorted((lr, ratio) for lr in (1e-3, 1e-2, 0.1, 1.0) for ratio in (0.1, 0.2, 0.3))
    assert most_trials(small(**QUICK, tune=tune)) == 8 * 9
