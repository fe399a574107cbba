"""The kit on recorders."""

from __future__ import annotations

import pytest
from kit_specimens import recorders, specimen

from lot.testing import KitFailure, check_recorder, checks

CHECKS = checks("recorder")

CAUGHT = [
    (recorders.NoRecorder, "builds", "lot.Recorder"),
    (recorders.ClosesWhatIsOpen, "builds", "AssertionError"),
    (recorders.NoNumber, "records", "the number of rows"),
    (recorders.NoPictures, "records", "what is this?"),
    (recorders.KnowsItsGroups, "records", "lot-lattice:order_parameter"),
    (recorders.CountsItsOwn, "resumes", "at most the 6 rows of the log"),
    (recorders.CountsAnew, "resumes", "recording.given, 9, for it is final"),
    (recorders.CountsItsOwn, "starts again", "expected 0 rows"),
    (recorders.Draws, "harmless", "that of torch"),
    (recorders.Prints, "harmless", "'hello\\n'"),
    (recorders.Rewrites, "harmless", "metrics.jsonl"),
]


def component(cls: type):
    return specimen(cls, "recorder")


@pytest.mark.parametrize("cls", [recorders.Honest, recorders.Final])
def test_an_honest_recorder_passes_every_check(cls):
    assert check_recorder(component(cls), live=True) == {}


@pytest.mark.parametrize(("cls", "name", "told"), CAUGHT, ids=lambda value: getattr(value, "__name__", value))
def test_a_defect_fails_its_check_and_is_told(cls, name, told):
    with pytest.raises(KitFailure) as failure:
        CHECKS[name](component(cls), live=True)
    assert told in str(failure.value)


def test_a_final_recorder_is_opened_on_request_only():
    skipped = check_recorder(component(recorders.NoPictures))
    assert list(skipped) == ["records", "resumes", "starts again", "harmless"]
    assert "check_recorder(component, live=True)" in skipped["records"]


def test_a_recorder_that_cannot_be_made_here_says_why():
    skipped = check_recorder(component(recorders.Unavailable))
    assert set(skipped) == set(CHECKS)
    assert skipped["builds"] == (
        "skipped: it cannot be made here: the package nowhere is not installed; pip install nowhere"
    )
