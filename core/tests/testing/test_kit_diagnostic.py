"""The kit on diagnostics."""

from __future__ import annotations

import pytest
from kit_specimens import diagnostics, mechanisms, specimen

from lot.testing import KitFailure, NotApplicable, check_diagnostic, checks

CHECKS = checks("diagnostic")

CAUGHT = [
    (diagnostics.NoDiagnostic, "builds", "lot.Diagnostic"),
    (diagnostics.IdleNeed, "builds", "phase"),
    (diagnostics.IdleNeed, "needs", "phase"),
    (diagnostics.ForgottenNeed, "needs", "reading the signal 'attention'"),
    (diagnostics.NotFinite, "measures", "value entropy"),
    (diagnostics.ComesAndGoes, "measures", "come and go"),
    (diagnostics.Numbers, "measures", "tensors by name"),
    (diagnostics.NoHeadline, "measures", "headline 'R'"),
    (diagnostics.Backward, "harmless", "gradient of"),
    (diagnostics.EvalForGood, "harmless", "mode of blocks.0"),
    (diagnostics.WantForGood, "harmless", "wanted signals"),
    (diagnostics.Hook, "harmless", "hooks of"),
    (diagnostics.Update, "harmless", "value of"),
    (diagnostics.GlobalNoise, "harmless", "that of torch"),
    (diagnostics.BatchInPlace, "harmless", "inputs"),
    (diagnostics.GradEnabled, "harmless", "gradient mode"),
    (diagnostics.LateHarm, "harmless", "at step 1000"),
    (diagnostics.HarmsAtLast, "harmless", "gradient of"),
    (diagnostics.HarmsTheTrained, "harmless", "value of"),
    (diagnostics.Counter, "determinism", "value calls"),
    (diagnostics.Pyplot, "draws", "pyplot"),
    (diagnostics.OneRecord, "draws", "ZeroDivisionError"),
    (diagnostics.NoRecord, "draws", "IndexError"),
    (diagnostics.NoPicture, "draws", "matplotlib Figure"),
    (diagnostics.Memory, "records", "not in the records"),
    (diagnostics.TwoLines, "records", "one line"),
    (diagnostics.AlarmOnMaps, "records", "maps"),
]


def component(cls: type):
    return specimen(cls, "diagnostic", needs=frozenset({"attention"}))


def test_an_honest_diagnostic_passes_every_check():
    pytest.importorskip("matplotlib")
    assert check_diagnostic(component(diagnostics.Honest)) == {}


@pytest.mark.parametrize(("cls", "name", "told"), CAUGHT, ids=lambda value: getattr(value, "__name__", value))
def test_a_defect_fails_its_check_and_is_told(cls, name, told):
    if name == "draws":
        pytest.importorskip("matplotlib")
    with pytest.raises(KitFailure) as failure:
        CHECKS[name](component(cls))
    assert told in str(failure.value)


def test_a_diagnostic_need_not_draw():
    pytest.importorskip("matplotlib")
    with pytest.raises(NotApplicable, match="draws nothing"):
        CHECKS["draws"](component(diagnostics.NoPictureAtAll))


def test_signals_come_from_the_attention_that_is_handed_over():
    made = specimen(diagnostics.EveryLayer, "diagnostic", needs=frozenset({"phase"}))
    CHECKS["measures"](made, attention=specimen(mechanisms.Oscillators, "attention", emits=frozenset({"phase"})))
    with pytest.raises(KitFailure, match="phases of layers 0, 2"):
        CHECKS["measures"](made)
