"""Statistics of studies against planted truths, theory and scipy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from lot_cli.study.analysis import statistics as st

STUDIES = 400
ALPHA = 0.05


def rate_error(rate: float, count: int = STUDIES) -> float:
    """Three standard errors of a rate measured on `count` studies."""
    return 3 * float(np.sqrt(rate * (1 - rate) / count))


def simulate(seed: int, pairs: int, effect: float) -> np.ndarray:
    """(400, pairs) differences of two arms with shared seeds: the seed's own noise is large and cancels."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(scale=5.0, size=(STUDIES, pairs))
    one, other = (noise + rng.normal(scale=np.sqrt(0.5), size=noise.shape) for _ in range(2))
    return other + effect - one


@pytest.mark.parametrize("pairs", [6, 8, 10])
def test_two_identical_arms_are_rarely_declared_different(pairs: int) -> None:
    p = st.sign_flip_test(simulate(pairs, pairs, effect=0.0))
    assert (p <= ALPHA).mean() <= ALPHA + rate_error(ALPHA)


def test_the_null_p_value_is_uniform_over_what_it_can_reach() -> None:
    p = st.sign_flip_test(simulate(1, 8, effect=0.0))
    for level in (0.125, 0.25, 0.5):
        assert (p <= level).mean() == pytest.approx(level, abs=rate_error(level))


@pytest.mark.parametrize(("pairs", "effect"), [(8, 1.0), (8, 1.5), (10, 1.0)])
def test_a_planted_effect_is_found_with_the_power_of_theory(pairs: int, effect: float) -> None:
    found = (st.sign_flip_test(simulate(17 + pairs, pairs, effect)) <= ALPHA).mean()
    critical = stats.t.ppf(1 - ALPHA / 2, pairs - 1)
    power = stats.nct.sf(critical, pairs - 1, effect * np.sqrt(pairs))  # of the t test, on differences of deviation 1
    assert found == pytest.approx(
        power, abs=rate_error(power) + 0.05
    )  # levels of a discrete test are a little below 0.05


@pytest.mark.parametrize("pairs", [2, 5, 8])
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_intervals_cover_at_their_nominal_rate(pairs: int, confidence: float) -> None:
    found = st.summarize(simulate(3 + pairs, pairs, effect=0.7), confidence)
    covered = ((found.low <= 0.7) & (found.high >= 0.7)).mean()
    assert covered == pytest.approx(confidence, abs=rate_error(confidence))


@pytest.mark.parametrize("truth", [0.0, 1.0])
def test_equivalence_is_rarely_declared_at_the_margin_and_often_inside(truth: float) -> None:
    declared = (st.equivalence_test(simulate(5, 16, effect=truth), margin=1.0) <= ALPHA).mean()
    if truth == 1.0:
        assert declared <= ALPHA + rate_error(ALPHA)
    else:
        critical = stats.t.ppf(1 - ALPHA, 15)
        power = 2 * stats.nct.sf(critical, 15, np.sqrt(16)) - 1  # both one-sided tests reject
        assert declared == pytest.approx(power, abs=rate_error(power) + 0.01)


def test_family_of_null_comparisons_errs_no_more_than_one_comparison() -> None:
    p = np.stack([st.sign_flip_test(simulate(100 + k, 9, effect=0.0)) for k in range(4)], axis=1)  # (400, 4)
    errors = np.array([(st.holm(row) <= ALPHA).any() for row in p])
    assert errors.mean() <= ALPHA + rate_error(ALPHA)
    assert (p <= ALPHA).any(axis=1).mean() > ALPHA + rate_error(ALPHA)  # what Holm prevents


@pytest.mark.parametrize("pairs", [2, 3, 5, 8])
def test_sign_flips_equal_enumeration_by_hand(pairs: int) -> None:
    d = np.random.default_rng(pairs).normal(loc=0.4, size=pairs)
    flips = [np.mean(d * signs) for signs in itertools.product((1, -1), repeat=pairs)]
    expected = np.mean(np.abs(flips) >= abs(d.mean()) - 1e-12)
    assert st.sign_flip_test(d) == pytest.approx(expected, abs=1e-12)


def test_flips_that_cancel_tie_although_sums_are_rounded() -> None:
    rng = np.random.default_rng(6)
    for whole in [[-5, 2, 3, 1, -2, 1, 0], [-1, -1, 0, 2, 1, -1, -2, 2], *rng.integers(-4, 5, (60, 7)).tolist()]:
        sums = [abs(sum(map(int.__mul__, whole, signs))) for signs in itertools.product((1, -1), repeat=len(whole))]
        expected = np.mean([total >= abs(sum(whole)) for total in sums])  # in whole numbers, where nothing is rounded
        shares = np.array([d + 7 for d in whole]) / 30 - 7 / 30
        assert st.sign_flip_test(shares) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("pairs", [2, 4, 5, 8, 14])
def test_smallest_p_is_what_differences_of_one_sign_give(pairs: int) -> None:
    assert st.sign_flip_test(np.arange(1.0, pairs + 1)) == pytest.approx(st.smallest_p(pairs), abs=1e-12)
    assert st.smallest_p(5) == 0.0625


def test_many_pairs_are_sampled_reproducibly() -> None:
    d = np.random.default_rng(0).normal(loc=0.5, size=20)
    assert st.sign_flip_test(d) == st.sign_flip_test(d)
    assert st.sign_flip_test(d) == pytest.approx(stats.ttest_1samp(d, 0).pvalue, abs=0.02)
    assert st.sign_flip_test(np.arange(1.0, 21)) >= st.smallest_p(20)


def test_no_difference_at_all() -> None:
    zeros = np.zeros(6)
    assert st.sign_flip_test(zeros) == 1.0
    found = st.summarize(zeros)
    assert (found.mean, found.low, found.high, found.effect) == (0, 0, 0, 0)
    assert st.equivalence_test(zeros, 0.1) == 0.0
    assert st.equivalence_test(zeros + 0.2, 0.1) == 1.0
    assert st.summarize(zeros - 1).effect == -np.inf


def test_interval_and_equivalence_equal_scipys_t_tests() -> None:
    d = np.random.default_rng(4).normal(loc=0.3, size=7)
    interval = stats.ttest_1samp(d, 0).confidence_interval(0.9)
    found = st.summarize(d, 0.9)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), rel=1e-12)
    above = stats.ttest_1samp(d, -0.6, alternative="greater").pvalue
    below = stats.ttest_1samp(d, 0.6, alternative="less").pvalue
    assert st.equivalence_test(d, 0.6) == pytest.approx(max(above, below), rel=1e-10)
    assert st.mean_interval(d, 0.9) == pytest.approx((d.mean(), interval.low, interval.high), rel=1e-12)


def test_effect_size_is_unbiased() -> None:
    effects = st.summarize(np.random.default_rng(8).normal(loc=0.8, size=(40_000, 6))).effect
    assert effects.mean() == pytest.approx(0.8, abs=4 * effects.std() / 200)


def test_holm_by_its_definition() -> None:
    p = [0.04, 0.01, 0.03, 0.5]
    assert st.holm(p) == pytest.approx([0.09, 0.04, 0.09, 0.5])
    assert st.holm([0.9, 0.8]) == pytest.approx([1.0, 1.0])
    assert st.holm([0.02]) == pytest.approx([0.02])


@pytest.mark.parametrize("bad", [[1.0], 3.0])
def test_fewer_than_two_pairs_are_refused(bad: object) -> None:
    with pytest.raises(ValueError, match="at least two pairs"):
        st.sign_flip_test(bad)  # type: ignore[arg-type]


def test_what_is_not_finite_is_refused_and_not_judged() -> None:
    for judged in (st.sign_flip_test, st.summarize, lambda d: st.equivalence_test(d, 1.0)):
        with pytest.raises(ValueError, match="finite"):
            judged([np.nan, 1.0, 2.0])
