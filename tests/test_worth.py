"""Studies that ask what a mechanism is worth and what its models rely on, through the command line."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from support import TINY, Lot

from lot.config.yaml import dump_yaml

STUDY: dict[str, Any] = {
    "base": {**TINY, "train": {**TINY["train"], "steps": 8}, "optim": {"lr": 0.02}},
    "arms": {"vanilla": {}, "lattice": {"attn": {"name": "lattice"}}},
    "seeds": 2,
    "metrics": ["loss"],
    "tolerance": 0.1,
    "worth": ["lattice"],
    "reliance": True,
}


def write(**changes: Any) -> str:
    """The study file, with top-level keys changed."""
    Path("s.yaml").write_text(dump_yaml({**STUDY, **changes}))
    return "s.yaml"


def test_worth_and_reliance_of_a_study(lot: Lot) -> None:
    planned = lot("study", write(), "--plan")
    assert planned.returncode == 0, planned.stderr
    assert "lattice − lattice-neutral" in planned.stdout
    assert "The study has 6 runs" in " ".join(planned.stdout.split())
    done = lot("study", "s.yaml")
    assert done.returncode == 0, done.stderr
    assert "lattice: measuring what 2 models rely on" in done.stderr
    result = json.loads(Path("studies/s/study.json").read_text())
    assert [(c["arm"], c["against"]) for c in result["comparisons"]] == [
        ("lattice", "vanilla"),
        ("lattice", "lattice-neutral"),
    ]
    assert result["fairness"]["fair"], result["fairness"]["reasons"]
    sizes = {matched["arm"]: matched["parameters"] for matched in result["fairness"]["matched"]}
    assert sizes["lattice-neutral"] == sizes["lattice"]
    vanilla, neutral = (result["arms"][arm]["scores"]["loss"] for arm in ("vanilla", "lattice-neutral"))
    assert neutral == vanilla, "within the tolerance nothing is resized"
    assert result["arms"]["lattice-neutral"]["reliance"] is None
    assert result["arms"]["vanilla"]["reliance"] == []
    relied = {row["what"]: row for row in result["arms"]["lattice"]["reliance"]}
    assert {"state, drawn at random", "alpha", "all of these parameters"} <= set(relied)
    key = next(row["key"] for row in result["runs"] if row["arm"] == "lattice" and row["seed"] == 1)
    damages = json.loads(lot("ablate", f"studies/s/runs/{key}", "--json").stdout)["damages"]
    alone = next(damage["change"] for damage in damages if damage["what"] == "alpha")
    assert relied["alpha"]["changes"][1] == pytest.approx(alone, abs=1e-9)
    assert relied["alpha"]["mean"]["mean"] == pytest.approx(sum(relied["alpha"]["changes"]) / 2)
    for report in ("report.md", "report.html"):
        assert "What the trained models rely on" in Path("studies/s", report).read_text()
    assert "what the trained models rely on" in done.stdout
    again = lot("study", "s.yaml")
    assert "measuring what" not in again.stderr, "kept beside the runs"
    second = json.loads(Path("studies/s/study.json").read_text())["arms"]
    assert {arm: second[arm]["reliance"] for arm in second} == {
        arm: result["arms"][arm]["reliance"] for arm in result["arms"]
    }


def test_a_run_that_lost_its_checkpoints_is_told_and_the_rest_measured(lot: Lot) -> None:
    assert lot("study", write(reliance=False)).returncode == 0
    rows = json.loads(Path("studies/s/study.json").read_text())["runs"]
    key = next(row["key"] for row in rows if row["arm"] == "lattice" and row["seed"] == 0)
    shutil.rmtree(f"studies/s/runs/{key}/checkpoints")
    done = lot("study", write())
    assert done.returncode == 0, done.stderr
    result = json.loads(Path("studies/s/study.json").read_text())
    assert any("reliance not measured" in warning for warning in result["warnings"])
    alpha = next(row for row in result["arms"]["lattice"]["reliance"] if row["what"] == "alpha")
    assert alpha["changes"][0] is None
    assert alpha["changes"][1] is not None


def test_what_has_no_neutral_form_starts_nothing(lot: Lot) -> None:
    done = lot(
        "study", write(arms={"vanilla": {}, "waves": {"attn": {"name": "pure_wave", "waves": 2}}}, worth=["waves"])
    )
    assert done.returncode == 2
    assert "arms.waves-neutral.attn: this attention has no neutral form" in done.stderr
    assert done.stderr.count("\n") <= 2
    assert not Path("studies").exists()


def test_a_neutral_form_that_is_not_neutral_starts_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lot.errors import BadInput
    from lot_cli.study import conduct
    from lot_cli.study.design.file import study_from
    from lot_lattice.attention.lattice import LatticeAttention

    monkeypatch.setattr(LatticeAttention, "neutral", lambda self: contextlib.nullcontext())
    with pytest.raises(
        BadInput, match=r"^arms\.lattice-neutral\.attn: neutral\(\) of lattice is not neutral: .* plugins check"
    ):
        conduct(study_from(STUDY, "s"), tmp_path / "s", device="cpu")
    assert not (tmp_path / "s").exists()
