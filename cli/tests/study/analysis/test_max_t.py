"""Joint sign flips: equal to their definition, one rule for verdict and interval, alpha spent over looks."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra.numpy import arrays

from lot_cli.study.analysis.max_t import EXACT_PAIRS, SAMPLED, Flips, cosines, max_t, max_t_by_hand
from lot_cli.study.analysis.statistics import sign_flip_test

# Quarters are exact in binary, so that flips that cancel tie by definition too.
quarters = st.integers(-12, 12).map(lambda whole: whole / 4)
studies = st.tuples(st.integers(1, 4), st.integers(2, 8)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=quarters)
)
levels = st.sampled_from([0.03, 0.05, 0.1, 0.2, 0.5])


@settings(max_examples=60, deadline=None)
@given(studies, levels)
def test_p_and_critical_value_equal_their_definition(d: np.ndarray, alpha: float) -> None:
    found, (p, critical) = max_t(d, alpha), max_t_by_hand(d, alpha)
    assert found.p == pytest.approx(p, abs=1e-12)
    assert found.critical == pytest.approx(critical, rel=1e-6, abs=1e-9)


@settings(max_examples=300, deadline=None)
@given(studies, levels)
def test_zero_is_inside_exactly_where_p_is_above_alpha(d: np.ndarray, alpha: float) -> None:
    found = max_t(d, alpha)
    low, high = found.interval()
    assert (((low <= 0) & (high >= 0)) == (found.p > alpha)).all()


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**6), st.integers(5, 12), st.floats(0, 3))
def test_zero_is_inside_exactly_where_p_is_above_alpha_after_earlier_looks(
    seed: int, pairs: int, effect: float
) -> None:
    d = np.random.default_rng(seed).normal(size=(3, pairs)) + effect
    found = max_t(d, 0.05, [(d[:, : pairs - 2], 0.02)])
    low, high = found.interval()
    assert (((low <= 0) & (high >= 0)) == (found.p > 0.05)).all()


def test_one_contrast_is_the_sign_flip_test() -> None:
    d = np.random.default_rng(1).normal(0.4, size=9)
    assert max_t(d[None], 0.05).p[0] == sign_flip_test(d)


def test_the_size_of_a_metric_changes_no_p() -> None:
    d = np.random.default_rng(2).normal(0.4, size=(3, 9))
    assert (max_t(d * [[1e-100], [1.0], [1e100]], 0.05).p == max_t(d, 0.05).p).all()


def test_more_contrasts_make_p_larger_and_intervals_wider() -> None:
    d = np.random.default_rng(3).normal(0.5, size=(6, 10))
    alone, all_six = max_t(d[:2], 0.05), max_t(d, 0.05)
    assert (all_six.p[:2] >= alone.p).all()
    assert all_six.critical > alone.critical


def test_equal_differences_are_certain_and_zeros_show_nothing() -> None:
    noise = np.array([1.0, -2, 3, -4, 4, -3, 2, -1])
    found = max_t(np.stack([np.full(8, 0.1 + 0.2), noise, np.zeros(8)]), 0.05)
    assert found.p[[0, 2]].tolist() == [2 / 2**8, 1.0]
    low, high = found.interval()
    assert low[0] == high[0] == found.mean[0]
    assert (found.error[0], low[2], high[2]) == (0.0, 0.0, 0.0)


def test_pairs_that_could_show_nothing_have_unbounded_intervals() -> None:
    found = max_t(np.full((1, 5), 3.0), 0.05)
    assert found.p[0] == 0.0625
    assert [float(end[0]) for end in found.interval()] == [-np.inf, np.inf]


@pytest.mark.parametrize("pairs", [3, 11, 12, 14])
def test_every_flip_is_there_once(pairs: int) -> None:
    d = np.random.default_rng(pairs).normal(size=(2, pairs))
    signs = np.array([(1, *rest) for rest in itertools.product((1, -1), repeat=pairs - 1)])
    by_hand = np.abs(signs @ (d / np.sqrt(pairs * (d**2).sum(1, keepdims=True))).T).max(1)
    assert np.sort(Flips(pairs).largest(d)) == pytest.approx(np.sort(by_hand), abs=1e-12)


def test_the_first_pairs_keep_their_signs_in_every_flip() -> None:
    """What an earlier look would have found under a flip is found under the same signs."""
    d = np.random.default_rng(5).normal(size=(1, 9))
    alone = np.zeros((1, 9))
    alone[:, :6] = d[:, :6]
    flips = Flips(9)
    assert flips.largest(d[:, :6]) * np.sqrt(6) == pytest.approx(flips.largest(alone) * np.sqrt(9), abs=1e-12)


def test_more_pairs_are_sampled_with_a_key() -> None:
    d = np.random.default_rng(6).normal(0.4, size=(2, EXACT_PAIRS + 2))
    found = max_t(d, 0.05)
    assert found.p.tolist() == max_t(d, 0.05).p.tolist()
    exact = max_t(d[:, :EXACT_PAIRS], 0.05)
    assert found.critical == pytest.approx(exact.critical, rel=0.05)
    assert max_t(np.full((1, EXACT_PAIRS + 2), 1.0), 0.05).p[0] >= 1 / SAMPLED


def test_what_an_earlier_look_spent_is_gone_and_what_it_left_is_not() -> None:
    d = np.random.default_rng(7).normal(size=(1, 10))
    alone = max_t(d, 0.05)
    spent = max_t(d, 0.05, [(d[:, :8], 0.025)])
    left = max_t(d, 0.05, [(d[:, :5], 0.025)])  # five pairs reach no p below 0.0625
    assert spent.critical > alone.critical
    assert left.critical == alone.critical
    assert spent.p[0] >= alone.p[0]


def test_what_is_no_table_of_pairs_is_refused() -> None:
    for bad in (np.ones(4), np.ones((2, 1)), np.ones((0, 4))):
        with pytest.raises(ValueError, match="at least two pairs"):
            max_t(bad, 0.05)
    with pytest.raises(ValueError, match="finite"):
        max_t([[np.nan, 1.0]], 0.05)
    assert cosines(np.zeros((1, 4))).tolist() == [0.0]
