"""`worth` in a study file: the arms and the contrasts that it adds, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest

from lot.errors import BadInput
from lot_cli.study.design.contrasts import contrasts_of
from lot_cli.study.design.file import Study, study_from
from lot_cli.study.design.worth import with_worth

ARMS: dict[str, Any] = {"vanilla": {}, "wavy": {"attn": {"name": "wavy"}, "train": {"clip": 0.5}}}


def study(**changes: Any) -> Study:
    return study_from({"arms": ARMS, "seeds": 6, **changes}, "small")


def contrasts(of: Study) -> list[tuple[str, str]]:
    given = contrasts_of(of.contrasts, of.arms, "vanilla")
    return with_worth(given, of.contrasts is not None, of.worth, ["vanilla"])


def test_the_arm_is_added_with_the_mechanism_left_out_and_all_else_equal() -> None:
    asked = study(worth=["wavy"])
    assert list(asked.arms) == ["vanilla", "wavy", "wavy-neutral"]
    assert asked.arms["wavy-neutral"] == {"attn": {"name": "wavy"}, "train": {"clip": 0.5, "neutral": True}}
    assert asked.arms["wavy"] == ARMS["wavy"]


def test_a_neutral_arm_is_compared_with_its_own_arm_alone_unless_the_file_asks() -> None:
    assert contrasts(study(worth=["wavy"])) == [("wavy", "vanilla"), ("wavy", "wavy-neutral")]
    named = study(worth=["wavy"], contrasts=[["wavy-neutral", "vanilla"]])
    assert contrasts(named) == [("wavy-neutral", "vanilla"), ("wavy", "wavy-neutral")]
    either_way = study(worth=["wavy"], contrasts=[["wavy-neutral", "wavy"]])
    assert contrasts(either_way) == [("wavy-neutral", "wavy")]


def test_a_grid_is_asked_for_by_the_names_of_its_arms() -> None:
    arms = {**ARMS, "wavy": {"attn": {"name": "wavy"}, "grid": {"attn.depth": [1, 2]}}}
    asked = study(arms=arms, worth=["wavy,depth=2"])
    assert list(asked.arms)[-1] == "wavy,depth=2-neutral"


def test_what_is_written_reads_as_the_same_study() -> None:
    asked = study(worth=["wavy"])
    assert study_from(asked.to_dict(), "other") == asked


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"worth": ["waves"]}, r"^worth\.0: expected one of the arms vanilla, wavy, got 'waves'$"),
        ({"worth": ["wavy", "wavy"]}, r"^worth\.1: expected each arm once"),
        ({"worth": ["wavy"], "arms": {**ARMS, "wavy-neutral": {}}}, r"^arms\.wavy-neutral: expected another name"),
        ({"worth": ["n"], "arms": {**ARMS, "n": {"train": {"neutral": True}}}}, r"^worth\.0: expected an arm whose"),
        ({"worth": ["n"], "arms": {**ARMS, "n": {"train": 3}}}, r"^arms\.n\.train: expected a table, got 3$"),
    ],
)
def test_what_cannot_be_is_one_line(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(BadInput, match=told):
        study(**changes)


def test_vanilla_attention_has_no_worth() -> None:
    with pytest.raises(BadInput, match=r"^worth\.0: expected an arm with a mechanism to leave out, got 'vanilla'$"):
        contrasts(study(worth=["vanilla"]))
