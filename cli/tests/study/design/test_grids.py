"""Grids of numbers go on by their own ratio or difference; what has no next value is refused or left alone."""

from __future__ import annotations

from typing import Any

import pytest
from study_support import small

from lot.errors import BadInput
from lot_cli.study.design.grids import edge_of, extended_paths, next_value


@pytest.mark.parametrize(
    ("values", "below", "above"),
    [
        ([1e-3, 3e-3, 1e-2], 3.162e-4, 3.162e-2),
        ([1e-2, 1e-3], 1e-4, 0.1),  # in any order
        ([0.0, 0.1, 0.2], -0.1, 0.3),  # a zero has no ratio
        ([2, 3, 4], 1, 5),
        ([8, 16, 32], 4, 64),
        ([1, 2, 2], 0, 4),
        ([3e-4, 1e-3, 0.3], None, None),
    ],
)
def test_the_next_value(values: list[float], below: float | None, above: float | None) -> None:
    assert (next_value(values, "least"), next_value(values, "largest")) == (below, above)
    assert all(type(found) is type(values[0]) for found in (next_value(values, "largest"),) if found is not None)


def test_edges_are_those_of_numbers_alone() -> None:
    assert [edge_of(value, [3, 1, 2]) for value in (1, 2, 3)] == ["least", None, "largest"]
    assert edge_of("a", ["a", "b"]) is None
    assert edge_of(1, [1]) is edge_of(1, [1, None]) is edge_of(True, [True, False]) is None


def test_grids_of_numbers_are_extended_unless_the_file_says_which() -> None:
    tune: dict[str, list[Any]] = {"optim.lr": [1, 2], "train.decay": ["cosine", "linear"]}
    assert extended_paths(None, tune) == ["optim.lr"]
    assert extended_paths([], tune) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"extend": ["optim.beta"]}, "extend: expected paths under tune (optim.lr, train.decay), got 'optim.beta'"),
        (
            {"extend": ["train.decay"]},
            "tune.train.decay: expected two numbers or more, since extend names it, got ['cosine', 'linear']; "
            "leave it out of extend: names have no next one",
        ),
        (
            {"extend": ["optim.lr"], "tune": {"optim.lr": [1e-4, 1e-3, 0.5]}},
            "tune.optim.lr: expected values of one ratio or of one difference, since extend names it, "
            "got [0.0001, 0.001, 0.5]; space them evenly, or leave it out of extend",
        ),
    ],
)
def test_a_grid_that_cannot_be_extended_is_refused(changes: dict[str, Any], message: str) -> None:
    tune = {"optim.lr": [1e-3, 1e-2], "train.decay": ["cosine", "linear"]}
    with pytest.raises(BadInput) as raised:
        small(**{"tune": tune, **changes})
    assert str(raised.value) == message


def test_three_tuning_seeds_by_default_none_of_which_is_reported() -> None:
    study = small(tune_seeds=None)
    assert study.tune_seeds == 3
    assert not set(study.tuning_seeds) & set(study.seed_list)
