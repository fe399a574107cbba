"""The study file and the plan made of it: grids, merging, addresses, and bad studies in one clear line."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from study_support import RUN, SMALL, small, write

from lot.errors import BadInput
from lot_cli.study.design.file import merge, study_from
from lot_cli.study.design.plan import find_reference, make_run, numerics, plan_arms, run_key, source_digest

VANILLA = {"vanilla": {}, "other": {"model": {"tie": True}}}

BAD: list[tuple[dict[str, Any], str]] = [
    ({"sedes": 3}, "sedes: unknown option; did you mean 'seeds'?"),
    ({"arms": {"vanilla": {}}}, "arms: expected at least two arms"),
    ({"arms": {"a": {"attn": {"name": "vanilla", "causal": True}}, "b": {"atn": {}}}}, "did you mean 'attn'?"),
    ({"seeds": 1}, "seeds: expected at least 2 seeds"),
    ({"seeds": [1, 1]}, "seeds: expected different seeds"),
    ({"seeds": 2.5}, "seeds: expected int or list of int"),
    ({"metrics": ["acuracy"]}, "metrics.0: expected a metric of the task: "),
    ({"metrics": ["loss", "loss"]}, "metrics: expected each metric once"),
    ({"tune": {"train.test": [True]}}, "tune.train.test: tuning reads training and validation data only"),
    ({"tune": {"task.seq_len": [8, 16]}}, "tune.task.seq_len: tuning reads training and validation data only"),
    ({"tune": {"train.steps": [8, 16]}}, "tune.train.steps: expected a path that begins with optim."),
    ({"tune": {"optim.lr": []}}, "tune.optim.lr: expected a list of values"),
    (
        {"tune": {"attn.name": ["vanilla", "lattice"]}},
        "tune.attn.name: expected no mechanism, since mechanisms are compared as arms",
    ),
    ({"base": {**RUN, "train": 5}}, "arms.vanilla.train.test: expected train to be a table, got 5"),
    ({"tune": {"optim.lrr": [0.1, 0.2]}}, "arms.vanilla.optim.lrr: unknown option; did you mean 'lr'?"),
    ({"arms": {"vanilla": {}, "b": {"grid": {"optim.lr": [0.1, 0.1]}}}}, "arms: expected arms of different names"),
    (
        {"claims": [{"arm": "x", "metric": "loss", "value": 1.0, "source": "y"}]},
        "claims.0.arm: expected one of the arms",
    ),
    ({"equivalence": {"loss": 0.0}}, "equivalence.loss: expected a margin > 0"),
    ({"equivalence": {"exact_match": 0.1}}, "equivalence.exact_match: expected a metric of the study"),
    ({"reference": "smooth2"}, "reference: expected one of the arms"),
    ({"name": "../away"}, "name: expected letters, digits"),
    ({"arms": {"vanilla": {}, "b": {"seed": 3}}}, "arms.b.seed: expected no seed"),
    ({"arms": {"vanilla": {}, "b": {"train": {"test": False}}}}, "arms.b.train.test: expected not to be given"),
    ({"arms": {"vanilla": {}, "b": {"optim": {"lr": "fast"}}}, "tune": {}}, "arms.b.optim.lr: expected"),
    ({"arms": {"vanilla": {}, "b": {"grid": {"optim.lr": 3}}}}, "arms.b.grid: expected a table from path"),
    ({"arms": {"vanilla": {}, "b": {"model": {"mlp_ratio": 2.0}}}}, "arms.b.model.mlp_ratio: expected not to be given"),
]


@pytest.mark.parametrize(("changes", "line"), BAD, ids=[line[:40] for _, line in BAD])
def test_bad_studies_get_one_clear_line_and_leave_nothing(
    lot: Callable, tmp_path: Path, changes: dict[str, Any], line: str
) -> None:
    done = lot("study", str(write(tmp_path / "bad.yaml", {**SMALL, "claims": [], "equivalence": {}, **changes})))
    assert done.code == 2
    assert line in done.err
    assert len(done.err.strip().splitlines()) == 1
    assert not (tmp_path / "studies").exists()


def test_a_study_without_vanilla_is_refused(lot: Callable, tmp_path: Path) -> None:
    pytest.importorskip("lot_lattice")
    arms = {"a": {"attn": {"name": "lattice"}}, "b": {"attn": {"name": "phase"}}}
    done = lot("study", str(write(tmp_path / "bad.yaml", {"base": RUN, "arms": arms})))
    assert done.code == 2
    assert "arms: expected one with vanilla attention to compare with, got a, b" in done.err
    done = lot("compare", "--attn", "lattice,phase", "--task", "copy_reverse")
    assert done.code == 2
    assert "expected one with vanilla attention" in done.err


def test_a_grid_makes_an_arm_of_each_combination() -> None:
    grid = {"optim.lr": [0.1, 0.2], "optim.name": ["adamw", "muon"], "attn.layers.0.causal": [True]}
    study = small(arms={"vanilla": None, "b": {"model": {"tie": True}, "grid": grid}}, claims=None)
    assert list(study.arms) == [
        "vanilla",
        *(f"b,lr={lr},name={name},causal=true" for lr in (0.1, 0.2) for name in ("adamw", "muon")),
    ]
    assert study.arms["b,lr=0.2,name=muon,causal=true"] == {
        "model": {"tie": True},
        "optim": {"lr": 0.2, "name": "muon"},
        "attn": {"layers": {0: {"causal": True}}},
    }


def test_another_component_replaces_a_table_and_the_same_one_refines_it() -> None:
    base = {"attn": {"name": "lattice", "coupling": 0.5}, "model": {"width": 8, "heads": 2}}
    assert merge(base, {"attn": {"name": "vanilla"}})["attn"] == {"name": "vanilla"}
    assert merge(base, {"attn": {"dt": 0.1}})["attn"] == {"name": "lattice", "coupling": 0.5, "dt": 0.1}
    assert merge(base, {"model": {"width": 16}})["model"] == {"width": 16, "heads": 2}
    assert base == {"attn": {"name": "lattice", "coupling": 0.5}, "model": {"width": 8, "heads": 2}}


def test_a_study_survives_its_plain_form() -> None:
    study = small(arms={"vanilla": None, "smooth": {"grid": {"optim.lr": [0.1, 0.2]}}}, claims=None)
    assert study_from(study.to_dict(), "other") == study


def test_tuning_has_seeds_of_its_own() -> None:
    study = small(seeds=[3, 9, 4], tune_seeds=2)
    assert study.tuning_seeds == [10, 11]
    assert study.trials() == [{"optim.lr": 0.001}, {"optim.lr": 0.01}]
    assert small(tune=None).trials() == [{}]


def test_the_reference_is_the_first_vanilla_arm_or_the_one_named() -> None:
    arms = {"b": {"model": {"tie": True}}, "vanilla": {}}
    study = small(arms=arms, claims=None)
    assert find_reference(study, plan_arms(study)).name == "b"
    study = small(arms=arms, claims=None, reference="vanilla")
    assert find_reference(study, plan_arms(study)).name == "vanilla"


def test_addresses_follow_content() -> None:
    study = small()
    vanilla, smooth = plan_arms(study)
    facts = numerics(study.threads, "cpu")

    def key(arm: Any = vanilla, seed: int = 0, changes: Any = None, purpose: Any = "report", on: Any = facts) -> str:
        return make_run(arm, seed, changes or {}, purpose, on).key

    different = [
        key(),
        key(arm=smooth),
        key(seed=1),
        key(changes={"optim.lr": 0.5}),
        key(purpose="tune"),
        key(on=numerics(study.threads, "cuda")),
        key(on={**facts, "threads": 2}),
    ]
    assert len(set(different)) == len(different)
    assert key(changes={"optim.lr": 1.0e-3}) == key()  # the default, said aloud
    assert key(arm=plan_arms(small(arms=dict(reversed(SMALL["arms"].items()))))[1]) == key()


def test_an_address_is_the_same_wherever_a_run_is_recorded() -> None:
    def key(base: dict[str, Any]) -> str:
        arm = plan_arms(small(base={**SMALL["base"], **base}))[0]
        return run_key(arm.config(0), {})

    assert key({"recorders": {"csv": {}, "tensorboard": None}}) == key({})
    assert key({"diagnostics": {"grad_norm": {}}}) != key({})


def test_an_address_follows_the_versions_of_what_it_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    from lot_cli.study.design import plan

    config = plan_arms(small())[0].config(0)
    before = run_key(config, {})
    real = plan.version_of
    for package, changes in (("torch", True), ("lot-tasks", True), ("lot-core", True), ("lot-cli", False)):
        monkeypatch.setattr(plan, "version_of", lambda name, p=package: "99" if name == p else real(name))
        assert (run_key(config, {}) != before) == changes


def test_an_address_follows_the_source_of_what_it_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    from lot_cli.study.design import plan

    config = plan_arms(small())[0].config(0)
    before = run_key(config, {})
    real = plan.source_digest
    for module, changes in (("lot", True), ("lot_tasks", True), ("lot_cli", False)):
        monkeypatch.setattr(plan, "source_digest", lambda name, m=module: "0" if name == m else real(name))
        assert (run_key(config, {}) != before) == changes


def test_the_source_is_told_by_content_and_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    package = tmp_path / "invented_oscillator"
    (package / "csrc").mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit")
    (package / "csrc" / "kernel.cu").write_text("// one")
    (package / "notes.txt").write_text("one")

    def told() -> str:
        source_digest.cache_clear()
        return source_digest("invented_oscillator")

    first = told()
    (package / "notes.txt").write_text("two")
    assert told() == first
    (package / "csrc" / "kernel.cu").write_text("// two")
    assert told() != first


def test_an_address_follows_the_files_that_options_name_and_the_python_whose_help_is_a_corpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import platform

    text = tmp_path / "text.txt"
    text.write_text("one")
    study = small(base={**RUN, "task": {"name": "char_lm", "path": str(text)}}, claims=None)

    def key() -> str:
        return make_run(plan_arms(study)[0], 0, {}, "report", numerics(study.threads, "cpu")).key

    before = key()
    assert key() == before
    text.write_text("two")
    after = key()
    assert after != before
    elsewhere = tmp_path / "elsewhere.txt"
    text.rename(elsewhere)
    study = small(base={**RUN, "task": {"name": "char_lm", "path": str(elsewhere)}}, claims=None)
    assert key() == after  # what counts is the content, and not where it lies
    monkeypatch.setattr(platform, "python_version", lambda: "3.99.0")
    assert key() != after


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"equivalence": {"loss": float("inf")}}, "equivalence.loss: expected a finite number, got inf"),
        ({"tune": {"optim.lr": [0.1, float("nan")]}}, "tune.optim.lr.1: expected a finite number, got nan"),
        ({"tune": {"optim.lr": [datetime.date(2026, 1, 1)]}}, "tune.optim.lr.0: expected text or a number"),
    ],
)
def test_what_a_result_could_not_hold_is_refused_before_the_runs(changes: dict[str, Any], line: str) -> None:
    with pytest.raises(BadInput) as raised:
        small(**changes)
    assert str(raised.value).startswith(line)


def test_only_a_reported_run_is_tested() -> None:
    arm = plan_arms(small())[0]
    assert make_run(arm, 0, {}, "report", {}).config.train.test
    assert not make_run(arm, 0, {}, "tune", {}).config.train.test


def test_errors_name_the_arm() -> None:
    with pytest.raises(BadInput, match=r"arms\.b\.optim\.lr"):
        plan_arms(small(arms={"vanilla": None, "b": {"optim": {"lr": -1.0}}}, claims=None))
