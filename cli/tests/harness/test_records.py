"""Answers in the directory of a run: found again whole, or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lot_cli.harness import records

SUMMARY = {
    "format": records.FORMAT, "task": "a/b c", "step": 7, "key": "12345678abcdefgh", "metrics": {"acc,none": 0.5}, "stderr": {},
    "higher_is_better": {"acc": True}, "examples": 2, "of": 9, "leak": False, "date": "2026-01-01T00:00:00+00:00", "num_fewshot": 0,
}  # fmt: skip
ROWS = [
    {"doc_id": place, "filter": "none", "doc_hash": "ab", "metrics": {"acc": value}}
    for place, value in enumerate((1.0, float("nan")))
]


def test_an_answer_is_found_by_its_key(tmp_path: Path) -> None:
    path = records.save(tmp_path, SUMMARY, ROWS)
    assert path.name == "a_b_c-step_00000007-12345678.json"
    found = records.find(tmp_path, "a/b c", 7, "12345678abcdefgh")
    assert found is not None
    assert found[0]["metrics"] == {"acc,none": 0.5}
    assert found[1] == [ROWS[0], {**ROWS[1], "metrics": {"acc": None}}]
    assert records.find(tmp_path, "a/b c", 7, "12345678ABCDEFGH") is None
    assert records.find(tmp_path, "a/b c", 8, "12345678abcdefgh") is None


@pytest.mark.parametrize("harm", ["examples", "gone", "summary", "format"])
def test_an_answer_that_is_not_whole_is_not_found(tmp_path: Path, harm: str) -> None:
    path = records.save(tmp_path, SUMMARY, ROWS)
    examples = path.with_suffix(".jsonl")
    if harm == "examples":
        examples.write_text(examples.read_text().replace("1.0", "0.0"))
    elif harm == "gone":
        examples.unlink()
    elif harm == "summary":
        path.write_text("{")
    else:
        path.write_text(json.dumps({**json.loads(path.read_text()), "format": 99}))
    assert records.find(tmp_path, "a/b c", 7, "12345678abcdefgh") is None


@pytest.mark.parametrize("key", ["metrics", "stderr", "examples", "date", "leak"])
def test_an_answer_from_a_stranger_that_lacks_a_part_is_not_found(tmp_path: Path, key: str) -> None:
    records.save(tmp_path, {**SUMMARY, key: None}, ROWS)
    assert records.find(tmp_path, "a/b c", 7, "12345678abcdefgh") is None
    records.save(tmp_path, SUMMARY, [{"doc_id": 0}])
    assert records.find(tmp_path, "a/b c", 7, "12345678abcdefgh") is None


def test_a_link_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / records.FOLDER).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic link"):
        records.save(tmp_path, SUMMARY, ROWS)
    assert not any((tmp_path / "elsewhere").iterdir())


def test_the_order_of_facts_does_not_matter_and_each_of_them_does() -> None:
    assert records.key_of({"a": 1, "b": 2}) == records.key_of({"b": 2, "a": 1})
    assert records.key_of({"a": 1, "b": 2}) != records.key_of({"a": 1, "b": 3})
