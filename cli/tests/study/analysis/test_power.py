"""What `--plan` says: effects that theory gives, fewer chances over more comparisons, and costs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy import optimize, stats
from study_support import SMALL, Made, small, write

from lot_cli.study.analysis.power import detectable_effect, plan_looks
from lot_cli.study.planning import plan_study

ONE = [("a", "v")]


@pytest.mark.parametrize("pairs", [8, 12, 16])
def test_one_contrast_has_the_power_of_the_t_test(pairs: int) -> None:
    def missing(effect: float) -> float:
        critical = stats.t.ppf(0.975, pairs - 1)
        return float(stats.nct.sf(critical, pairs - 1, effect * np.sqrt(pairs))) - 0.8

    theory = optimize.brentq(missing, 0.1, 5)
    assert detectable_effect(ONE, 0, 1, pairs, 0.05) == pytest.approx(theory, rel=0.12)


def test_more_comparisons_need_a_larger_effect_and_more_pairs_a_smaller_one() -> None:
    many = [(arm, "v") for arm in "abcdef"]
    alone, among_six = detectable_effect(ONE, 0, 1, 10, 0.05), detectable_effect(many, 0, 1, 10, 0.05)
    assert alone is not None
    assert among_six is not None
    assert alone < among_six
    longer = detectable_effect(many, 0, 1, 16, 0.05)
    assert longer is not None
    assert longer < among_six


def test_pairs_too_few_for_their_level_show_nothing() -> None:
    found = plan_looks(ONE, 1, [(5, 0.05), (6, 0.05)])
    assert [(each.pairs, each.smallest_p, each.effect is None) for each in found] == [
        (5, 0.0625, True),
        (6, 0.03125, False),
    ]


def test_a_plan_tells_runs_and_hours_and_leaves_no_trace(made: Made, tmp_path: Path) -> None:
    fresh = plan_study(small(), tmp_path / "new")
    assert (fresh.report_runs, fresh.tuning_runs, fresh.finished, fresh.hours_per_run) == (6, 4, 0, None)
    assert not (tmp_path / "new").exists()
    again = plan_study(small(), made.folder)
    assert again.finished == 10
    assert again.hours_per_run is not None
    assert 0 < again.hours_per_run < 1


def test_the_command_prints_the_plan(lot: Callable, tmp_path: Path) -> None:
    pytest.importorskip("lot_tasks")
    file = write(tmp_path / "small.yaml", {**SMALL, "seeds": 10, "looks": [6, 10]})
    done = lot("study", str(file), "--plan")
    assert done.code == 0, done.err
    assert "smooth − vanilla" in done.out
    assert "0.025" in done.out
    assert "over 2 comparisons judged together" in done.out
    assert "The study has 24 runs, 4 of them for tuning; its folder holds 0 finished runs." in done.out
    assert not (tmp_path / "studies").exists()


def test_a_plan_tells_steps_extensions_and_the_price_of_equal_time(lot: Callable, tmp_path: Path, made: Made) -> None:
    pytest.importorskip("lot_tasks")
    content = {**SMALL, "seeds": 10, "extend": None, "match": ["parameters", "flops"]}
    done = lot("study", str(write(tmp_path / "small.yaml", content)), "--plan")
    assert done.code == 0, done.err
    assert "smooth: 6 steps" in done.out  # counted: another loss counts no operation
    assert "extended: at most 16 tuning runs, which makes 36 in all." in done.out
    assert "Nothing is compared at equal time (equal_time: true); its price is known when" in done.out
    done = lot("study", str(write(tmp_path / "small.yaml", {**SMALL, "equal_time": True})), "--plan")
    assert "vanilla,time=smooth: steps are timed when the study starts" in done.out
    assert "smooth − vanilla,time=smooth" in done.out
    assert "The study has 15 runs, 6 of them for tuning" in done.out
    assert plan_study(small(), made.folder).equal_time_seconds == pytest.approx(
        made.result.arms["smooth"].cost.seconds_per_step * 6 * (3 + 2), rel=0.1
    )


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"contrasts": [["smooth", "smoth"]]}, "contrasts.0: expected two of the arms vanilla, smooth, got 'smoth'"),
        (
            {"contrasts": [["smooth", "smooth"]]},
            "contrasts.0: expected two different arms, got 'smooth' against itself",
        ),
        ({"contrasts": [["smooth", "vanilla"], ["vanilla", "smooth"]]}, "contrasts.1: expected each pair of arms once"),
        ({"looks": [10, 6]}, "looks: expected rising numbers of pairs, from 2 on, got [10, 6]"),
        ({"looks": [6, 9]}, "looks: expected the last look to be at all 10 seeds, got [6, 9]"),
    ],
)
def test_what_cannot_be_asked_is_one_line_before_anything_starts(
    lot: Callable, tmp_path: Path, change: dict, line: str
) -> None:
    done = lot("study", str(write(tmp_path / "small.yaml", {**SMALL, "seeds": 10, **change})))
    assert done.code == 2
    assert line in done.err
    assert not (tmp_path / "studies").exists()
