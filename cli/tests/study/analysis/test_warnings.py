"""What a reader should hold against a result is told: doubts about runs, tuning, numerics, and looks before this one."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from study_support import Made, make, small

from lot_cli.study import assemble
from lot_cli.study.analysis import warnings as module
from lot_cli.study.analysis.judge import reachable
from lot_cli.study.analysis.warnings import at_the_edge, numerics_differ, overlaps, power_warning
from lot_cli.study.result import Grid

pytest.importorskip("lot_tasks")


def test_what_a_reader_should_hold_against_a_result_is_told(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not [line for line in made.result.warnings if "edited" in line or "finite" in line]
    folder = shutil.copytree(made.folder, tmp_path / "copy")  # the result there is replaced
    real, read = module.run_key, assemble.read_scores
    monkeypatch.setattr(module, "run_key", lambda config, numerics: real(config, numerics)[::-1])
    monkeypatch.setattr(assemble, "read_scores", lambda run, metrics: {**read(run, metrics), "loss": None})
    warnings = make(small(), folder).warnings
    make_again = [line for line in warnings if line not in made.result.warnings]
    assert (
        "code, or a file that it reads, was edited while the study ran: runs may have used the old form or the new"
        in make_again
    )
    assert "vanilla, loss: not finite in 3 of 3 seeds" in make_again


def test_a_choice_at_the_edge_of_what_was_tried_is_told() -> None:
    grids = [
        Grid(path="optim.lr", given=[1e-3, 1e-2], added=[1e-1], ends={"largest": "so it ends"}),
        Grid(path="train.decay", given=["a", "b", "c"], added=[], ends={}),
        Grid(path="train.clip", given=[1], added=[], ends={}),
    ]
    chosen = {"train.decay": "a", "train.clip": 1}
    assert at_the_edge(grids, {"optim.lr": 1e-2, **chosen}) == []
    assert at_the_edge(grids, {"optim.lr": 1e-1, **chosen}) == [
        "best at the edge: tuning chose the largest optim.lr that was tried, 0.1; so it ends"
    ]
    assert at_the_edge(grids, {"optim.lr": 1e-3, **chosen})[0].endswith("the file does not let the grid be extended")


def test_a_second_look_at_the_same_runs_is_told(tmp_path: Path) -> None:
    """Seeds that are added because a first result was not enough make errors more frequent than p says."""
    quick: dict[str, Any] = {"tune": None, "claims": None, "equivalence": {"loss": 1e6}, "metrics": ["loss"]}
    two = make(small(**{**quick, "equivalence": None}, seeds=2), tmp_path)
    assert two.earlier == []
    five = make(small(**quick, seeds=5), tmp_path)
    assert five.earlier == []  # two seeds could give no verdict
    assert {c.verdict for c in five.comparisons} == {"equivalent"}
    again = make(small(**quick, seeds=5, question="or so?"), tmp_path)
    assert (again.earlier, again.looks) == ([], five.looks)  # the same look
    six = make(small(**quick, seeds=6), tmp_path)
    assert [(look.seeds, look.metrics) for look in six.earlier] == [(5, ["loss"])]
    (line,) = [line for line in six.warnings if "not planned" in line]
    assert line.startswith("this is look 2, and it was not planned: the last one was on 2")
    assert line.endswith("with 5 seeds of vanilla, smooth in loss; a difference needs p <= 0.00167")
    assert make(small(**quick, seeds=6), tmp_path).earlier == six.earlier
    assert len(make(small(**{**quick, "metrics": ["token_accuracy", "loss"]}, seeds=6), tmp_path).earlier) == 2
    fresh = make(
        small(**quick, seeds=[90, 91]), tmp_path
    )  # runs that nothing was seen of, in a folder where seeds failed
    assert len(fresh.earlier) == 3
    assert "seeds that were judged in this folder before and are left out now: 0, 1, 2, 3, 4, 5" in fresh.warnings
    (tmp_path / "looks.jsonl").unlink()
    blind = make(small(**quick, seeds=[90, 91]), tmp_path)
    assert {c.verdict for c in blind.comparisons} == {"looks unknown"}
    assert any(line.startswith("looks unknown: the record of earlier looks") for line in blind.warnings)


@pytest.mark.parametrize(
    ("fingerprints", "differ"),
    [
        ([{"torch": "2", "kernels": {}}, {"torch": "2", "kernels": {"lattice": "avx2"}}], False),
        ([{"torch": "2", "kernels": {"lattice": "PyTorch"}}, {"torch": "2", "kernels": {"lattice": "avx2"}}], True),
        ([{"torch": "2", "kernels": {}}, {"torch": "3", "kernels": {}}], True),
    ],
)
def test_numerics_differ_where_one_kernel_ran_in_two_forms_not_where_arms_have_other_kernels(
    fingerprints: list[dict[str, Any]], differ: bool
) -> None:
    assert numerics_differ(fingerprints) is differ


def test_too_few_seeds_are_told_with_the_number_that_would_do() -> None:
    assert power_warning(reachable(8, 9, 0.05)) is None
    assert power_warning(reachable(8, 9, 0.005)) == (
        "8 seeds cannot show a difference: the smallest p is 0.00781, above 0.005; 9 seeds could"
    )
    assert str(power_warning(reachable(2, 1, 0.05))).endswith("; 6 seeds could")
    assert str(power_warning(reachable(2, 1, 0.6))).endswith("; 5 seeds could")
    assert str(power_warning(reachable(20, 9, 1e-6))).endswith("no number of seeds could")


def test_what_splits_share_is_told_once_for_each_task() -> None:
    records = [
        {"repeats": "a text repeats passages"},
        {},
        {"repeats": "a text repeats passages"},
        {"repeats": "so do these"},
    ]
    assert overlaps(records) == [
        "the splits are not wholly apart: a text repeats passages",
        "the splits are not wholly apart: so do these",
    ]
    assert overlaps([{}]) == []
