"""Verdicts: planted truths, divergences, few pairs, equivalence; and the choice of tuned values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from study_support import small

from lot.errors import BadInput
from lot_cli.study.analysis import statistics as st
from lot_cli.study.analysis.judge import judge, reachable
from lot_cli.study.analysis.scores import curve, describe, read_scores
from lot_cli.study.analysis.tuning import choose
from lot_cli.study.design.plan import Run, make_run, plan_arms
from lot_cli.study.execution.worker import Outcome
from lot_cli.study.result import Comparison, Summary

HIGH = {"accuracy": True}


def verdicts(ours: Any, theirs: Any = (0.0,) * 8, margin: float | None = None, higher: bool = True) -> Comparison:
    """One arm against the reference in one metric."""
    scores = {"vanilla": {"m": list(theirs)}, "arm": {"m": list(ours)}}
    (found,) = judge(scores, [("arm", "vanilla")], {"m": higher}, {} if margin is None else {"m": margin}, 0.05)
    return found


def test_null_studies_are_rarely_called_better_or_worse() -> None:
    rng = np.random.default_rng(0)
    wrong = 0
    for _ in range(400):
        noise = rng.normal(size=8)
        scores = {arm: {m: list(noise + rng.normal(scale=0.3, size=8)) for m in "xy"} for arm in ("vanilla", "a", "b")}
        found = judge(scores, [("a", "vanilla"), ("b", "vanilla")], {"x": True, "y": False}, {}, 0.05)
        wrong += any(comparison.verdict in ("better", "worse") for comparison in found)
    assert wrong / 400 <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 400)  # over the whole family of four


def test_directions() -> None:
    up = np.linspace(1.0, 2.0, 8)
    assert verdicts(up).verdict == "better"
    assert verdicts(-up).verdict == "worse"
    assert verdicts(up, higher=False).verdict == "worse"
    assert verdicts(-up, higher=False).verdict == "better"
    assert verdicts([1, -1] * 4).verdict == "no difference shown"


def test_no_verdict_with_fewer_than_five_pairs_however_large_the_difference() -> None:
    for pairs in (2, 3, 4):
        scores = {"v": {"m": [0.0] * pairs}, "a": {"m": [9.0, 9.1, 9.2, 9.3][:pairs]}}
        found = judge(scores, [("a", "v")], {"m": True}, {}, 0.9)
        assert found[0].verdict == "too few pairs"


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("higher", [True, False])
def test_a_diverged_seed_is_scored_against_its_arm_with_the_largest_difference(which: int, higher: bool) -> None:
    gain = np.linspace(1, 2, 8) * (1 if higher else -1)
    arms: list[list[float | None]] = [list(gain), [0.0] * 8]
    arms[which][3] = None
    found = verdicts(*arms, higher=higher)
    finishing = np.delete(gain, 3)
    worst = 2.0 * (1 if higher else -1) * (-1 if which == 0 else 1)
    assert found.diverged == ((1, 0) if which == 0 else (0, 1))
    assert (found.pairs, found.scored) == (7, 1)
    assert found.mean == pytest.approx(np.append(finishing, worst).mean())
    assert found.mean_finishing == pytest.approx(finishing.mean())
    assert found.wins == ((7, 1) if which == 0 else (8, 0))


def test_one_lost_run_hides_no_nine_losses_and_voids_no_other_arm() -> None:
    gain, lost = np.linspace(1.0, 2.0, 10), [1.5, None, *[1.0 + 0.01 * k for k in range(8)]]
    scores = {"v": {"m": [0.0] * 10}, "a": {"m": list(-gain)}, "b": {"m": lost}}
    scores["a"]["m"][4] = None
    worse, other = judge(scores, [("a", "v"), ("b", "v")], {"m": True}, {"m": 5.0}, 0.05)
    assert (worse.verdict, worse.pairs, worse.scored, worse.wins) == ("worse", 9, 1, (0, 10))
    assert other.scored == 1
    assert worse.p_equivalent is None  # an arm that diverges equals none


def test_a_pair_that_both_lost_counts_as_no_difference() -> None:
    found = verdicts([None, *range(1, 10)], [None, *[0.0] * 9])
    assert found.mean == pytest.approx(4.5)
    assert (found.pairs, found.scored, found.verdict) == (9, 1, "better")


def test_a_comparison_that_was_lost_still_counts_for_equivalence_and_hinders_no_difference() -> None:
    gain, lost = list(np.linspace(1, 2, 8)), [None] * 8
    scores = {"v": {"m": [0.0] * 8}, "a": {"m": gain}, "b": {"m": lost}, "c": {"m": lost}}
    first, *others = judge(scores, [(arm, "v") for arm in "abc"], {"m": True}, {"m": 5.0}, 0.05)
    assert first.p == first.p_adjusted == 2 / 2**8
    alone = verdicts(gain, margin=5.0)
    assert first.p_equivalent == pytest.approx(3 * alone.p_equivalent)  # type: ignore[operator]
    assert [(c.p, c.p_adjusted, c.p_equivalent, c.verdict) for c in others] == [(None, None, None, "diverged")] * 2


def test_pairs_that_could_show_nothing_leave_no_verdict() -> None:
    few = verdicts([1.0, -1.0, 1.0, -1.0, 0.5], [0.0] * 5)  # p cannot go below 0.0625
    assert (few.verdict, few.low, few.high) == ("too few pairs", None, None)
    assert verdicts([0.01, -0.01, 0.01, 0.0, -0.01], [0.0] * 5, margin=0.1).verdict == "equivalent"  # by a t test
    scores = {"v": {"m": [0.0] * 6}, "a": {"m": [1.0, -1.1] * 3}, "b": {"m": [1.0] * 6}}
    found = judge(scores, [("a", "v"), ("b", "v")], {"m": True}, {}, 0.05)
    assert [c.verdict for c in found] == ["no difference shown", "better"]  # 0.03125, over both
    assert verdicts([1.0, -1.0] * 3, [0.0] * 6).verdict == "no difference shown"


def test_all_seeds_diverged() -> None:
    found = verdicts([None] * 8)
    assert (found.verdict, found.pairs, found.mean, found.p) == ("diverged", 0, None, None)


def test_zero_is_inside_exactly_where_no_difference_is_shown() -> None:
    rng = np.random.default_rng(3)
    disagreed = 0
    for _ in range(200):
        scores = {arm: {m: list(rng.normal(k * 0.8, 1, size=9)) for m in "xy"} for k, arm in enumerate("vab")}
        found = judge(scores, [("a", "v"), ("b", "v"), ("b", "a")], {"x": True, "y": False}, {}, 0.05)
        disagreed += sum((c.low <= 0 <= c.high) == (c.verdict in ("better", "worse")) for c in found)  # type: ignore[operator]
    assert disagreed == 0


def test_any_two_arms_can_be_compared() -> None:
    scores: Any = {"v": {"m": [0.0] * 8}, "a": {"m": [1.0] * 8}, "b": {"m": list(np.linspace(2, 3, 8))}}
    (found,) = judge(scores, [("a", "b")], {"m": True}, {}, 0.05)
    assert (found.arm, found.against, found.verdict, found.mean) == ("a", "b", "worse", pytest.approx(-1.5))


def test_equal_differences_have_an_infinite_effect_and_no_doubt() -> None:
    found = verdicts([0.3] * 8, [0.1] * 8)
    assert (found.verdict, found.effect, found.low) == ("better", None, found.high)
    assert st.summarize(np.full(8, 0.3) - np.full(8, 0.1)).effect == np.inf


def test_shapes_that_are_not_symmetric_are_told_with_successes() -> None:
    assert verdicts([1.0, 2, 3, 4, 5, 6, 7, 8]).shape == ""
    split = verdicts([0.0, 0.01, 0.02, 0.9, 0.91, 0.0, 0.92, 0.9], [0.0, 0.01, 0.02, 0.0, 0.01, 0.9, 0.0, 0.01])
    assert (split.shape, split.succeeded, split.wins) == ("split", (4, 1), (4, 1))
    assert verdicts([0.0, 0.1, -0.1, 0.05, -0.05, 0.02, -0.02, 9.0]).shape == "skewed"


def test_equivalence_needs_a_margin_and_little_noise() -> None:
    quiet = np.array([1, -1] * 4) * 0.01
    assert verdicts(quiet).verdict == "no difference shown"
    assert verdicts(quiet, margin=0.1).verdict == "equivalent"
    assert verdicts(quiet * 50, margin=0.1).verdict == "no difference shown"
    small_gain = verdicts(np.linspace(0.01, 0.02, 8), margin=0.1)
    assert (small_gain.verdict, small_gain.negligible) == ("better", True)
    assert not verdicts(np.linspace(1, 2, 8), margin=0.1).negligible
    assert not verdicts(-np.linspace(1, 2, 8), margin=0.1).negligible
    up, down = (verdicts(sign * np.linspace(0.01, 0.08, 8), margin=0.1) for sign in (1, -1))
    assert up.p_equivalent == pytest.approx(down.p_equivalent)


def test_all_contrasts_and_metrics_are_judged_together() -> None:
    gain, noise = list(np.linspace(1, 1.2, 8)), [1.0, -2, 3, -4, 4, -3, 2, -1.5]
    scores = {"v": {m: [0.0] * 8 for m in "xyz"}} | {arm: {"x": gain, "y": noise, "z": gain} for arm in "abc"}
    found = judge(scores, [(arm, "v") for arm in "abc"], dict.fromkeys("xyz", True), {}, 0.05)
    assert len(found) == 9
    assert {c.verdict for c in found if c.metric != "y"} == {"better"}  # all of them at the smallest p there is
    assert {c.p_adjusted for c in found if c.metric != "y"} == {2 / 2**8}
    assert {c.verdict for c in found if c.metric == "y"} == {"no difference shown"}
    assert reachable(8, 9, 0.05).enough
    assert not reachable(5, 1, 0.05).enough
    assert [reachable(pairs, 1, 0.05).smallest_p for pairs in (8, 14, 20)] == [2**-7, 2**-13, 2**-19]


def test_order_of_arms_changes_no_number() -> None:
    rng = np.random.default_rng(1)
    scores = {arm: {"m": list(rng.normal(size=6))} for arm in ("a", "vanilla", "b")}

    def by_arm(found: list[Comparison]) -> dict[str, Comparison]:
        return {comparison.arm: comparison for comparison in found}

    swapped = {arm: scores[arm] for arm in ("b", "a", "vanilla")}
    assert by_arm(judge(scores, [("a", "vanilla"), ("b", "vanilla")], {"m": True}, {}, 0.05)) == by_arm(
        judge(swapped, [("b", "vanilla"), ("a", "vanilla")], {"m": True}, {}, 0.05)
    )


def test_only_a_run_that_was_tested_has_scores(tmp_path: Path) -> None:
    assert read_scores(tmp_path, {"m": True, "loss": False}) == {"m": None, "loss": None}  # it diverged
    for split in ("test", "validation"):
        (tmp_path / "metrics.json").write_text(
            json.dumps({"split": split, "metrics": {"m": 0.5, "loss": None, "x": 1}})
        )
        if split == "test":
            assert read_scores(tmp_path, {"m": True, "loss": False}) == {"m": 0.5, "loss": None}
        else:
            with pytest.raises(AssertionError, match="was not tested"):
                read_scores(tmp_path, {"m": True})


def test_descriptions_of_few_values() -> None:
    assert describe([None, None]) == Summary(mean=None, low=None, high=None, lost=2)
    assert describe([None, 2.0]) == Summary(mean=2.0, low=None, high=None, lost=1)
    found = describe([1.0, 3.0, None])
    assert found.mean == 2.0
    assert found.low == pytest.approx(2.0 - 12.7062047)  # t of one degree of freedom, deviation sqrt 2, over sqrt 2


def test_curves_hold_the_steps_that_two_runs_or_more_evaluated(tmp_path: Path) -> None:
    rows = {
        "a": [{"step": 2, "split": "validation", "m": 1.0}, {"step": 4, "split": "validation", "m": 2.0}],
        "b": [{"step": 2, "split": "validation", "m": 3.0}, {"step": 2, "split": "train", "m": 99.0}],
    }
    for name, content in rows.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in content))
    found = curve([tmp_path / "a", tmp_path / "b", tmp_path / "none"], "m")
    assert (found.steps, found.mean) == ([2.0], [2.0])
    assert found.high[0] == pytest.approx(2.0 + 12.7062047)


# Tuning


def tuning(
    folder: Path, results: list[list[tuple[float | None, float] | None]], higher: bool = True, split: str = "validation"
) -> Any:
    """The choice between trials, given (score, loss) of their runs; None is a diverged run."""
    arm = plan_arms(small())[0]
    trials: list[tuple[dict[str, Any], list[Run]]] = []
    outcomes = {}
    for index, runs in enumerate(results):
        values = {"optim.lr": 0.1 * (index + 1)}
        tried = [make_run(arm, seed, values, "tune", {}) for seed in range(len(runs))]
        for run, result in zip(tried, runs, strict=True):
            outcomes[run.key] = Outcome(key=run.key, state="diverged" if result is None else "complete")
            (folder / run.key).mkdir()
            if result is not None:
                document = {"split": split, "metrics": dict(zip(("m", "loss"), result, strict=True))}
                (folder / run.key / "metrics.json").write_text(json.dumps(document))
        trials.append((values, tried))
    found = choose(trials, outcomes, folder, "m", higher)
    assert [trial.chosen for trial in found.trials] == [trial.values == found.values for trial in found.trials]
    return round(found.values["optim.lr"] * 10) - 1


def test_the_best_mean_is_chosen(tmp_path: Path) -> None:
    assert tuning(tmp_path, [[(0.1, 1), (0.9, 1)], [(0.6, 1), (0.6, 1)], [(0.4, 1), (0.5, 1)]]) == 1


def test_lower_is_better_where_the_metric_says_so(tmp_path: Path) -> None:
    assert tuning(tmp_path, [[(0.5, 1)], [(0.2, 1)], [(0.3, 1)]], higher=False) == 1


def test_equal_scores_are_told_apart_by_loss_and_then_the_first_is_taken(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    assert tuning(tmp_path, [[(0.0, 3.0)], [(0.0, 1.0)], [(0.0, 2.0)]]) == 1
    assert tuning(tmp_path / "x", [[(0.0, 1.0)], [(0.0, 1.0)]]) == 0


def test_a_trial_that_diverged_comes_last(tmp_path: Path) -> None:
    assert tuning(tmp_path, [[(0.9, 0.1), None], [(0.2, 1.0), (0.2, 1.0)]]) == 1


def test_a_trial_with_a_score_that_is_not_finite_has_no_mean(tmp_path: Path) -> None:
    assert tuning(tmp_path, [[(0.9, 0.1), (None, 1.0)], [(0.2, 1.0), (0.2, 1.0)]]) == 1


def test_a_tuning_run_that_was_tested_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="evaluated on the test split; tuning reads validation only"):
        tuning(tmp_path, [[(0.5, 1.0)]], split="test")
