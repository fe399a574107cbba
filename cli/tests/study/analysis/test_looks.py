"""The record of looks: what each look may spend, and what becomes of a record that was touched."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest
from invented_result import invented
from study_support import make, small

from lot.errors import BadInput
from lot_cli.study import Result, Study
from lot_cli.study.analysis.judge import judge
from lot_cli.study.analysis.looks import (
    SPENT_BY_ONE_LOOK,
    Look,
    level_of_unplanned,
    next_look,
    pairs_of_next_look,
    planned_levels,
    write_entry,
)
from lot_cli.study.analysis.record import FILE, Record, beside_record, read_record
from lot_cli.study.design.plan import digest
from lot_cli.study.procedure import check
from lot_cli.study.report.wording import conclusion

CONTRASTS = [("smooth", "vanilla")]
METRICS = {"loss": False}


def study_of(seeds: int | list[int] = 16, **changes: Any) -> Study:
    return small(seeds=seeds, metrics=["loss"], tune=None, equivalence=None, **changes)


def look(folder: Path, study: Study, seeds: Sequence[int] | None = None, result: Result | None = None) -> Look:
    """Take the next look, as `conduct` does."""
    record = read_record(folder, result)
    chosen = pairs_of_next_look(study, record) if seeds is None else list(seeds)
    found = next_look(record, study, chosen, CONTRASTS, METRICS)
    write_entry(folder, found, record)
    return found


def test_planned_looks_share_alpha_and_pass_on_what_they_leave(tmp_path: Path) -> None:
    study = study_of(looks=[6, 10, 16])
    found = [look(tmp_path, study) for _ in range(3)]
    assert [each.looks.level for each in found] == pytest.approx([0.05 / 3, 0.1 / 3, 0.05])
    assert [each.earlier for each in found] == [[], [(6, 0.05 / 3)], [(6, 0.05 / 3), (10, pytest.approx(0.1 / 3))]]
    assert all(each.looks.planned for each in found)
    assert look(tmp_path, study).looks == found[-1].looks  # nothing is left to look at
    assert len((tmp_path / FILE).read_text().splitlines()) == 3


def test_a_file_without_looks_plans_one_and_each_further_look_has_its_price(tmp_path: Path) -> None:
    found = [look(tmp_path, study_of(pairs)).looks for pairs in (8, 15, 16, 17, 18, 19)]
    assert [each.number for each in found] == [1, 2, 3, 4, 5, 6]
    assert [each.planned for each in found] == [True] + [False] * 5
    assert [each.level for each in found] == pytest.approx([0.04, *(0.05 / (k * (k + 1)) for k in (5, 6, 7, 8, 9))])
    assert look(tmp_path, study_of(16)).looks == found[2]  # the same pairs again


def test_all_looks_that_a_study_may_ever_take_spend_alpha_together() -> None:
    later = sum(level_of_unplanned(0.05, SPENT_BY_ONE_LOOK, before) for before in range(100_000))
    (first,) = planned_levels(0.05, SPENT_BY_ONE_LOOK, [8]).values()
    assert 0.05 - 1e-6 < first + later <= 0.05
    assert list(planned_levels(0.05, 1.0, [6, 10, 16]).values())[-1] == pytest.approx(0.05)
    assert level_of_unplanned(0.05, 1.0, 0) == 0


def test_a_named_plan_leaves_nothing_for_other_looks(tmp_path: Path) -> None:
    first = look(tmp_path, study_of(8, looks=[8])).looks
    later = look(tmp_path, study_of(16)).looks
    assert (first.level, later.planned, later.level) == (0.05, False, 0.0)
    scores: Any = {"smooth": {"loss": [0.0] * 16}, "vanilla": {"loss": [1.0 + i for i in range(16)]}}
    (judged,) = judge(scores, CONTRASTS, METRICS, {"loss": 1e9}, 0.05, level=0.0, share=0.0)
    assert (judged.verdict, judged.negligible, judged.low) == ("alpha spent", False, None)
    assert conclusion(judged) == "no verdict on smooth in loss, since the planned looks spend all of alpha"


def test_a_line_of_an_earlier_version_is_sound_and_had_all_of_alpha(tmp_path: Path) -> None:
    look(tmp_path, study_of(8))
    (line,) = [json.loads(text) for text in (tmp_path / FILE).read_text().splitlines()]
    del line["spends"]
    line["mark"] = digest({key: value for key, value in line.items() if key != "mark"})
    (tmp_path / FILE).write_text(json.dumps(line) + "\n")
    assert look(tmp_path, study_of(8)).looks.level == 0.05
    later = look(tmp_path, study_of(16)).looks
    assert (later.number, later.level) == (2, 0.0)
    assert json.loads((tmp_path / FILE).read_text().splitlines()[0]) == line


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"seeds": 8, "looks": [4, 8]},
            "looks: expected looks that can show something (a p of 0.025 or less), got 4 pairs, whose smallest p is 0.125; "
            "look at 7 pairs or more, or leave it out",
        ),
        (
            {"seeds": 5, "looks": [5]},
            "looks: expected looks that can show something (a p of 0.05 or less), got 5 pairs",
        ),
        (
            {"seeds": 8, "looks": [8], "alpha": 1e-9},
            "looks: expected looks that can show something (a p of 1e-09 or less)",
        ),
    ],
)
def test_a_planned_look_that_can_show_nothing_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput) as raised:
        check(study_of(**changes), Record(entries=[]))
    assert str(raised.value).startswith(message)


def test_a_planned_look_that_can_show_equivalence_alone_is_told() -> None:
    checked = check(small(seeds=10, tune=None, looks=[6, 10]), Record(entries=[]))
    assert not checked.reach.enough  # of which `power_warning` makes a warning


def test_a_report_that_is_written_again_looks_at_the_record(tmp_path: Path) -> None:
    first = look(tmp_path, study_of(8)).looks
    result = invented(looks=first)
    assert beside_record(result, read_record(tmp_path, result)) is result
    look(tmp_path, study_of(16))
    (told, *_) = beside_record(result, read_record(tmp_path, result)).warnings
    assert told.startswith("1 look at this study came later, the last on 2")
    assert told.endswith("with 16 seeds of vanilla, smooth: this result is not the newest")
    (tmp_path / FILE).unlink()
    lost = beside_record(result, read_record(tmp_path, result))
    assert {c.verdict for c in lost.comparisons} == {"looks unknown"}
    assert lost.warnings[0].startswith("looks unknown: ")
    assert lost.looks is not None
    assert not lost.looks.known


def test_a_plan_that_comes_after_the_first_look_is_none(tmp_path: Path) -> None:
    look(tmp_path, study_of(8))
    found = look(tmp_path, study_of(16, looks=[10, 16]))
    assert (found.looks.planned, found.looks.plan, found.looks.level) == (False, [8], pytest.approx(0.05 / 30))


def test_an_unplanned_look_in_between_leaves_the_plan_its_level(tmp_path: Path) -> None:
    study = study_of(looks=[6, 16])
    look(tmp_path, study)
    assert not look(tmp_path, study, range(9)).looks.planned
    last = look(tmp_path, study)
    assert (last.looks.planned, last.looks.level, last.earlier) == (True, 0.05, [(6, 0.025)])


def test_a_plan_whose_seeds_were_thrown_away_is_over(tmp_path: Path) -> None:
    look(tmp_path, study_of(looks=[6, 16]))
    found = look(tmp_path, study_of(list(range(10, 26)), looks=[6, 16]))
    assert not found.looks.planned
    assert found.looks.discarded == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text.replace('"counts": true', '"counts": false', 1),
        lambda text: "".join(text.splitlines(keepends=True)[1:]),
        lambda text: "".join(text.splitlines(keepends=True)[:-1]),
        lambda text: text[:-20],
        lambda text: None,
    ],
    ids=["edited", "first line gone", "last line gone", "torn", "gone"],
)
def test_a_record_that_was_touched_is_unknown(tmp_path: Path, damage: Any) -> None:
    for pairs in (8, 9):
        found = look(tmp_path, study_of(pairs))
    result = invented(looks=found.looks)
    assert read_record(tmp_path, result).entries is not None
    file = tmp_path / FILE
    text = damage(file.read_text())
    file.unlink() if text is None else file.write_text(text)
    after = look(tmp_path, study_of(10), result=result)
    assert not after.looks.known
    assert (file.read_text() if file.exists() else None) == text  # it stays as it was found


def test_a_lost_record_comes_back_from_a_whole_copy_only(tmp_path: Path) -> None:
    for pairs in (8, 9):
        found = look(tmp_path, study_of(pairs))
    file = tmp_path / FILE
    copy = file.read_text()
    file.unlink()
    lost = look(tmp_path, study_of(10), result=invented(looks=found.looks))
    after = invented(looks=lost.looks)  # what a study that was made without the record leaves behind
    file.write_text(copy.splitlines(keepends=True)[0])
    assert read_record(tmp_path, after).entries is None, "a record with fewer looks than there were"
    file.write_text(copy)
    assert len(read_record(tmp_path, after).entries or []) == 2


def test_without_a_record_a_study_keeps_all_its_pairs(tmp_path: Path) -> None:
    study = study_of(looks=[6, 10, 16])
    for _ in range(2):
        found = look(tmp_path, study)
    (tmp_path / FILE).unlink()
    assert pairs_of_next_look(study, read_record(tmp_path, invented(looks=found.looks))) == study.seed_list


def test_a_result_by_the_earlier_rule_begins_the_record(tmp_path: Path) -> None:
    before = attrs.evolve(invented(), looks=None, rule="Holm")
    found = look(tmp_path, study_of(10), result=before)
    assert (found.looks.known, found.looks.number, found.looks.planned) == (True, 2, False)
    lines = [json.loads(line) for line in (tmp_path / FILE).read_text().splitlines()]
    assert [len(line["seeds"]) for line in lines] == [6, 10]


def test_a_study_stops_at_each_planned_look_and_goes_on_with_the_same_command(tmp_path: Path) -> None:
    pytest.importorskip("lot_tasks")
    study = study_of(6, looks=[5, 6], claims=None, alpha=0.2)
    first, second = make(study, tmp_path), make(study, tmp_path)
    assert (first.seeds, second.seeds) == ([0, 1, 2, 3, 4], [0, 1, 2, 3, 4, 5])
    assert first.looks is not None
    assert second.looks is not None
    assert (first.looks.level, second.looks.level) == (0.1, 0.2)
    assert first.fairness.budget.seeds == 5
