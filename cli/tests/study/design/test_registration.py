"""The registration of a study: what it freezes, and which deviations from it are told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from study_support import SMALL, small, write

from lot.errors import BadInput
from lot_cli.study.design.registration import compare_with_registration, register

pytest.importorskip("lot_tasks")


def test_registration_marks_every_deviation(tmp_path: Path) -> None:
    study = small(hypotheses=["smoothing lowers the loss"])
    folder = tmp_path / "registered"
    assert compare_with_registration(study, folder) is None
    assert register(study, folder) == register(study, folder)
    found = compare_with_registration(study, folder)
    assert found is not None
    assert (found.hypotheses, found.deviations) == (["smoothing lowers the loss"], [])

    changed = small(hypotheses=["smoothing lowers the loss"], seeds=4, metrics=["loss"])
    deviations = compare_with_registration(changed, folder).deviations  # type: ignore[union-attr]
    assert deviations == ["metrics: registered ['token_accuracy', 'loss'], now ['loss']", "seeds: registered 3, now 4"]
    with pytest.raises(BadInput, match="another form of this study was registered"):
        register(changed, folder)

    edited = json.loads((folder / "registration.json").read_text())
    edited["study"]["seeds"] = 4
    (folder / "registration.json").write_text(json.dumps(edited))
    assert compare_with_registration(study, folder).deviations[0].startswith("the registration was edited")  # type: ignore[union-attr]


def test_registration_holds_the_code_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lot_cli.study.design import plan

    study = small(hypotheses=["x"])
    register(study, tmp_path)
    assert compare_with_registration(study, tmp_path).deviations == []  # type: ignore[union-attr]
    real = plan.source_digest
    monkeypatch.setattr(plan, "source_digest", lambda name: "0" if name == "lot_tasks" else real(name))
    found = compare_with_registration(study, tmp_path)
    assert found is not None
    assert found.deviations == ["the code of lot_tasks was edited after the registration"]


def test_registration_after_the_fact_is_told(lot: Callable, tmp_path: Path) -> None:
    (tmp_path / "runs" / "a").mkdir(parents=True)  # begun is enough: its validation could be seen
    (tmp_path / "runs" / "side_by_side.json").write_text("1")
    study = small(hypotheses=["x"])
    register(study, tmp_path)
    found = compare_with_registration(study, tmp_path)
    assert found is not None
    assert found.deviations == ["1 run made before the registration"]


def test_registering_runs_nothing_and_wants_hypotheses(lot: Callable, tmp_path: Path) -> None:
    refused = lot("study", str(write(tmp_path / "a.yaml", SMALL)), "--register")
    assert refused.code == 2
    assert "hypotheses: expected to be stated before registration" in refused.err
    done = lot("study", str(write(tmp_path / "a.yaml", {**SMALL, "hypotheses": ["x"]})), "--register")
    assert done.code == 0
    assert sorted(path.name for path in (tmp_path / "studies" / "a").iterdir()) == ["registration.json"]


@pytest.mark.parametrize(
    ("text", "said"),
    [("{", "damaged, "), ('{"hash": "x"}', "damaged, it has no 'date'"), ("[]", "damaged, it is no registration")],
)
def test_a_damaged_registration_is_told(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "registration.json"
    file.write_text(text)
    for use in (register, compare_with_registration):
        with pytest.raises(BadInput) as raised:
            use(small(hypotheses=["x"]), tmp_path)
        assert str(raised.value).startswith(f"{file}: {said}")
