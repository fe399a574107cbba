"""The check "neutral" of the kit: an honest form passes, and each defect is told."""

from __future__ import annotations

from dataclasses import replace

import pytest
from kit_specimens import leaks, neutral_forms, specimen

from lot.testing import DIMS, KitFailure, NotApplicable
from lot.testing.case import Case
from lot.testing.properties.neutral import neutral


def check(cls: type) -> None:
    neutral(Case(specimen(cls, "attention"), "attention"))


def test_an_honest_neutral_form_passes() -> None:
    check(neutral_forms.Biased)


def test_dropout_is_no_difference() -> None:
    neutral(Case(specimen(neutral_forms.Biased, "attention"), "attention", dims=replace(DIMS, dropout=0.5)))


@pytest.mark.parametrize(
    ("cls", "told"),
    [
        (neutral_forms.LeftIn, r"output inside neutral\(\) against vanilla's \(evaluation mode, no padding"),
        (neutral_forms.LeftInTraining, r"output inside neutral\(\) against vanilla's \(training mode"),
        (neutral_forms.LeftInDecoding, r"decoding inside neutral\(\)"),
        (neutral_forms.Stuck, r"output after neutral\(\) has ended"),
        (neutral_forms.NotNested, r"output inside neutral\(\)"),
        (neutral_forms.NoGradient, "gradient at the input"),
        (neutral_forms.NoPadding, "with padding"),
        (neutral_forms.NoProjections, "lot.nn.Projections"),
    ],
)
def test_each_defect_is_told(cls: type, told: str) -> None:
    with pytest.raises(KitFailure, match=told):
        check(cls)


def test_an_attention_without_one_is_skipped_with_its_reason() -> None:
    with pytest.raises(NotApplicable, match="no neutral form"):
        check(leaks.Honest)
