"""Draws without replacement, against all possible outcomes."""

from __future__ import annotations

import collections
import itertools

import numpy as np
import pytest

from lot_tasks.synthetic.draws import distinct, distinct_weighted


def shares(rows: np.ndarray) -> dict[tuple[int, ...], float]:
    counts = collections.Counter(map(tuple, rows.tolist()))
    return {row: count / len(rows) for row, count in counts.items()}


def test_every_ordered_choice_is_equally_likely() -> None:
    found = shares(distinct(np.random.default_rng(0), 120_000, 3, 5))
    assert set(found) == set(itertools.permutations(range(5), 3))
    assert max(abs(share - 1 / 60) for share in found.values()) < 0.0025  # 6 standard deviations


def test_all_of_a_range_can_be_drawn() -> None:
    rows = distinct(np.random.default_rng(1), 50, 6, 6)
    assert (np.sort(rows, axis=1) == np.arange(6)).all()


def test_weights_act_one_draw_after_another() -> None:
    weights = np.array([4.0, 2.0, 1.0, 1.0])
    found = shares(distinct_weighted(np.random.default_rng(2), 120_000, 2, weights))
    for first, second in itertools.permutations(range(4), 2):
        expected = weights[first] / 8 * weights[second] / (8 - weights[first])
        assert found[first, second] == pytest.approx(expected, abs=0.008)


def test_weights_when_everything_is_drawn() -> None:
    rows = distinct_weighted(np.random.default_rng(3), 50, 4, np.ones(4))
    assert (np.sort(rows, axis=1) == np.arange(4)).all()
