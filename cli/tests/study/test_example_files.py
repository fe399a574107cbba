"""The studies that the repository ships can be planned as they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from lot.config.yaml import read_yaml
from lot_cli.study.analysis.judge import reachable
from lot_cli.study.design.file import load_study
from lot_cli.study.design.plan import find_reference, plan_arms

EXPERIMENTS = Path(__file__).resolve().parents[3] / "experiments"
PRETRAINED = EXPERIMENTS / "pretrained"
"""Reads the files of a model; the tests of lot-hf have it."""
FILES = sorted(file for file in EXPERIMENTS.rglob("*.yaml") if "arms" in read_yaml(file) and file.parent != PRETRAINED)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(EXPERIMENTS)))
def test_it_has_arms_that_resolve_and_a_reference(file: Path) -> None:
    study = load_study(file)
    arms = plan_arms(study)
    assert find_reference(study, arms).name in study.arms
    for arm in arms:
        for values in study.trials():
            assert not arm.config(study.tuning_seeds[0], values, test=False).train.test


@pytest.mark.parametrize("file", sorted((EXPERIMENTS / "studies").glob("*.yaml")), ids=lambda file: file.stem)
def test_its_seeds_can_show_a_difference(file: Path) -> None:
    study = load_study(file)
    comparisons = (len(study.arms) - 1) * len(study.metrics)
    assert reachable(len(study.seed_list), comparisons, study.alpha).enough
