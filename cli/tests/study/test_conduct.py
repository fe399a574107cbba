"""Whole studies: nothing but the file decides the numbers, test data stay out of tuning, and no seed is lost silently."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from study_support import RUN, SMALL, Made, make, numbers, small

from lot.errors import BadInput, Interrupted, RunFailed
from lot.runs.directory import RunDir
from lot.storage.files import read_json
from lot_cli.study.execution.worker import Order, execute

pytest.importorskip("lot_tasks")


def test_test_data_are_not_read_before_tuning_is_over(made: Made) -> None:
    assert made.while_tuning == {"train", "validation"}
    assert made.after == {"train", "validation", "test"}


def test_a_tuning_run_that_would_test_is_refused(tmp_path: Path) -> None:
    from lot_cli.study.design.plan import make_run, plan_arms

    config = make_run(plan_arms(small())[0], 0, {}, "report", {}).config
    with pytest.raises(BadInput, match="a tuning run must not read the test split"):
        Order(
            key="k",
            label="vanilla, seed 0",
            config=config.to_dict(),
            run_dir=tmp_path / "k",
            may_test=False,
            threads=1,
            device="cpu",
        )


def test_every_arm_has_every_seed_and_an_equal_budget(made: Made) -> None:
    rows = made.result.runs
    assert [(row.arm, row.seed) for row in rows] == [(arm, seed) for seed in range(3) for arm in SMALL["arms"]]
    assert {row.state for row in rows} == {"complete"}
    assert {row.steps for row in rows} == {6}
    for arm in made.result.arms.values():
        assert len(arm.tuned.trials) == 2
        assert sum(trial.chosen for trial in arm.tuned.trials) == 1
        assert arm.config["optim"]["lr"] == arm.tuned.values["optim.lr"]


def test_tuning_goes_by_the_main_metric_on_validation(made: Made) -> None:
    for arm in made.result.arms.values():
        for trial in arm.tuned.trials:
            (key,) = trial.runs
            document = json.loads((made.folder / "runs" / key / "metrics.json").read_text())
            assert document["split"] == "validation"
            assert trial.score == document["metrics"]["token_accuracy"]


def test_scores_are_those_of_the_runs_own_test_metrics(made: Made) -> None:
    for row in made.result.runs:
        document = json.loads((made.folder / "runs" / row.key / "metrics.json").read_text())
        assert document["split"] == "test"
        for metric in ("token_accuracy", "loss"):
            assert made.result.arms[row.arm].scores[metric][row.seed] == document["metrics"][metric]


def test_a_run_of_a_study_equals_a_bare_run(made: Made, tmp_path: Path) -> None:
    from lot.config.load import load_config
    from lot.training.train import train

    row = made.result.runs[1]
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        result = train(load_config(made.folder / "runs" / row.key / "config.yaml"), tmp_path / "bare")
    finally:
        torch.set_num_threads(before)
    assert result.metrics["loss"] == made.result.arms[row.arm].scores["loss"][row.seed]


def test_costs(made: Made) -> None:
    for arm in made.result.arms.values():
        cost = arm.cost
        width, hidden, positions, vocabulary = 16, 64, 8, 8
        products = 4 * width * width + 2 * width * hidden + width * vocabulary + 2 * positions * width
        assert cost.flops_per_token == pytest.approx(3 * 2 * products, rel=0.15)  # backward costs twice the forward
        assert cost.seconds_per_step * cost.tokens_per_second == pytest.approx(32)
        assert 0.5 * 6 * cost.seconds_per_step < cost.seconds_per_run  # six steps, the first of them slower
        assert cost.peak_bytes > 4 * 4 * 8 * hidden  # the MLP's hidden activations alone


def test_what_has_run_is_not_run_again(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise AssertionError("a run was repeated")

    monkeypatch.setattr(sys.modules["lot.training.train"], "train", refuse)
    again = make(small(), made.folder)
    assert numbers(again) == numbers(made.result)
    assert again.arms["smooth"].cost == made.result.arms["smooth"].cost


def test_order_of_arms_and_interruption_change_no_number(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    swapped = small(arms=dict(reversed(SMALL["arms"].items())), reference="vanilla")
    module = sys.modules["lot.training.train"]
    original = module.train
    count = 0

    def interrupted(*arguments: Any, **options: Any) -> Any:
        """Every third run gets a SIGINT after its second step."""
        nonlocal count
        count += 1

        def stop(event: str, facts: dict[str, Any]) -> None:
            if event == "log" and facts["step"] == 2:
                os.kill(os.getpid(), signal.SIGINT)

        return original(*arguments, **options, **({"report": stop} if count % 3 == 0 else {}))

    monkeypatch.setattr(module, "train", interrupted)
    for _ in range(4):  # ten runs; every third call is interrupted, and goes on in the next one
        with pytest.raises(Interrupted, match="the same command goes on from there") as raised:
            make(swapped, tmp_path)
        assert raised.value.exit_code == 130
    result = make(swapped, tmp_path)
    assert numbers(result) == numbers(made.result)
    assert [row.arm for row in result.runs][:2] == ["smooth", "vanilla"]


def test_processes_side_by_side_change_no_number(made: Made, tmp_path: Path) -> None:
    result = make(small(), tmp_path, jobs=2)
    assert numbers(result) == numbers(made.result)
    assert "times were measured with up to 2 runs side by side" in result.warnings


def test_a_process_that_dies_costs_its_run_and_says_so() -> None:
    from lot_cli.study.execution.runner import _Worker

    worker = _Worker(1, None)
    order = Order(
        key="k", label="x", config={"train": {"test": True}}, run_dir=Path("k"), may_test=True, threads=1, device="cpu"
    )
    worker.give(order)
    assert worker.process is not None
    worker.process.kill()
    outcome = worker.take()
    worker.close()
    assert (outcome.state, outcome.message) == ("failed", "its process died (exit code -9)")


def test_a_killed_study_leaves_no_run_that_goes_on(tmp_path: Path) -> None:
    file = tmp_path / "long.json"
    config = {**RUN, "train": {**RUN["train"], "steps": 100_000, "eval_every": 100_000, "save_every": 100_000}}
    file.write_text(json.dumps(config))
    # __main__ guards what a spawned process imports again.
    script = tmp_path / "study.py"
    script.write_text(
        "import json, sys, time\nfrom pathlib import Path\nfrom lot import load_config\n"
        "from lot_cli.study.execution.runner import _Worker\nfrom lot_cli.study.execution.worker import Order\n"
        "if __name__ == '__main__':\n"
        "    config = load_config(json.loads(Path(sys.argv[1]).read_text())).to_dict()\n"
        "    order = Order(key='k', label='x', config=config, run_dir=Path(sys.argv[2]), may_test=True, threads=1,"
        " device='cpu')\n"
        "    _Worker(1, None).give(order)\n"
        "    time.sleep(600)\n"
    )
    run = RunDir(tmp_path / "run")
    study = subprocess.Popen([sys.executable, str(script), str(file), str(run.path)])
    try:
        _wait(lambda: bool(run.rows()))
    finally:
        study.kill()
        study.wait()
    _wait(lambda: (read_json(run.path / "status.json") or {}).get("state") == "interrupted")
    assert [path.name for path in (run.path / "checkpoints").iterdir()]  # it saved itself first


def _wait(until: Callable[[], bool]) -> None:
    for _ in range(600):
        if until():
            return
        time.sleep(0.1)
    raise AssertionError("waited for a minute in vain")


def test_divergence_is_a_result_that_is_shown_and_not_repeated(tmp_path: Path) -> None:
    arms = {"vanilla": {}, "wild": {"optim": {"lr": 1.0e30}}}
    study = small(arms=arms, differs={"optim.lr": "planted"}, tune=None, claims=None, seeds=2)
    result = make(study, tmp_path)
    states = [(row.arm, row.state) for row in result.runs]
    assert states == [("vanilla", "complete"), ("wild", "diverged")] * 2
    assert result.arms["wild"].scores["loss"] == [None, None]
    assert {c.verdict for c in result.comparisons} == {"diverged"}
    assert [c.asked for c in result.comparisons] == [["optim.lr"]] * len(result.comparisons)
    assert "wild diverged in 2 of 2 seeds (0, 1)" in result.warnings
    assert "not finite" in result.runs[1].message
    seen: list[dict[str, Any]] = []
    again = make(study, tmp_path, tell=lambda event, facts: seen.append(facts) if event == "run" else None)
    assert numbers(again) == numbers(result)
    assert seen == []


def test_a_run_that_fails_otherwise_leaves_no_result_and_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = small(tune=None, claims=None, seeds=2)
    original = sys.modules["lot.training.train"].train
    broken = True

    def train(config: Any, *arguments: Any, **options: Any) -> Any:
        if broken and config.seed == 1 and config.losses["cross_entropy"].options.label_smoothing:
            seen.append(1)
            if len(seen) == 1:
                raise RuntimeError("a plugin's mistake")
            if len(seen) == 2:
                raise RunFailed("storage failed") from OSError("no space")
            raise RunFailed("no compiled kernels")
        return original(config, *arguments, **options)

    seen: list[int] = []
    monkeypatch.setattr(sys.modules["lot.training.train"], "train", train)
    with pytest.raises(
        RunFailed, match="1 of 4 runs failed, so there is no result; smooth, seed 1: RuntimeError: a plugin"
    ):
        make(study, tmp_path)
    with pytest.raises(RunFailed, match="smooth, seed 1: storage failed"):
        make(study, tmp_path)
    with pytest.raises(RunFailed, match="smooth, seed 1: no compiled kernels"):  # which is no divergence
        make(study, tmp_path)
    assert not (tmp_path / "study.json").exists()
    broken = False
    assert len(make(study, tmp_path).runs) == 4


def test_the_threads_of_a_run_are_those_of_the_study_whatever_the_process_has(tmp_path: Path, made: Made) -> None:
    config = made.result.arms["vanilla"].config
    order = Order(key="k", label="x", config=config, run_dir=tmp_path / "k", may_test=True, threads=1, device="cpu")
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        assert execute(order).state == "complete"
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    facts = json.loads((tmp_path / "k" / "run.json").read_text())
    assert facts["fingerprint"]["threads"] == 1


def test_a_leak_that_a_run_measured_marks_its_arm(tmp_path: Path) -> None:
    """As runs with `allow_leak` record it; no flag of the arm declared it."""
    study = small(seeds=2, tune=None, claims=None)
    first = make(study, tmp_path / "study")
    assert first.fairness.leaks == []
    row = next(row for row in first.runs if row.arm == "smooth")
    file = tmp_path / "study" / "runs" / row.key / "metrics.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "leak": True}))
    again = make(study, tmp_path / "study")
    assert again.fairness.leaks == ["smooth"]
    assert again.fairness.reasons == ["smooth sees what it is asked to predict (measured in its runs)"]
    assert not any(comparison.fair for comparison in again.comparisons)
