"""Runs as jobs: through submitit's local executor, which needs no cluster."""

from __future__ import annotations

import json
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from study_support import SMALL, small, write

from lot.errors import BadInput, LotError, RunFailed
from lot_cli.study.design.plan import make_run, numerics, plan_arms
from lot_cli.study.execution import slurm
from lot_cli.study.execution.runner import Executor, run_all
from lot_cli.study.execution.worker import Order

pytest.importorskip("lot_tasks")


def order(folder: Path, seed: int = 0) -> Order:
    """A run of the small study."""
    study = small()
    run = make_run(plan_arms(study)[0], seed, {}, "report", numerics(study.threads, "cpu"))
    return Order(
        key=run.key,
        label="vanilla",
        config=run.config.to_dict(),
        run_dir=folder / run.key,
        may_test=True,
        threads=1,
        device="cpu",
    )


def test_a_job_makes_the_very_run_that_this_process_would_make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("submitit")
    monkeypatch.setattr(slurm, "CLUSTER", "local")
    monkeypatch.setattr(slurm, "POLL_SECONDS", 0.1)
    there, here = order(tmp_path / "there"), order(tmp_path / "here")
    executor = Executor(jobs=1, slurm={"timeout_min": 5, "partition": "any"}, logs=tmp_path / "logs")
    ((_, outcome),) = run_all([there], executor, lambda event, facts: None).items()
    assert outcome.state == "complete"
    run_all([here], Executor(jobs=1), lambda event, facts: None)
    metrics = [json.loads((o.run_dir / "metrics.json").read_text())["metrics"] for o in (there, here)]
    assert metrics[0] == metrics[1]


class _Job:
    """A job as submitit shows it."""

    def __init__(self) -> None:
        self.job_id, self.canceled = "7", False
        self.paths = type("Paths", (), {"stderr": "7.err"})

    def done(self) -> bool:
        return True

    def cancel(self) -> None:
        self.canceled = True

    def exception(self) -> Exception:
        return RuntimeError("Job 7 timed out\nwith a trace")


def test_a_job_that_the_cluster_ends_is_a_failed_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = [_Job()]
    executor = type("Stub", (), {"map_array": lambda self, function, queue: jobs})
    monkeypatch.setattr(slurm, "connect", lambda folder, parameters: executor())
    wanted = order(tmp_path)
    (outcome,) = slurm.submit([wanted], tmp_path, 1, {}, [])
    assert (outcome.key, outcome.state) == (wanted.key, "failed")
    assert outcome.message == "job 7: Job 7 timed out; its log is 7.err"
    assert not jobs[0].canceled
    assert list(slurm.submit([wanted], tmp_path, 1, {}, [15])) == []
    assert jobs[0].canceled


@pytest.mark.parametrize("error", [BadInput("no such thing", where="arms.a"), RunFailed("arms.a: it fails")])
def test_what_keeps_a_job_from_timing_steps_is_told_as_on_this_machine(
    error: LotError, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Cluster:
        """Makes a job at once; what it gives travels as a file."""

        def submit(self, work: Callable, *arguments: Any) -> Any:
            sent = pickle.dumps(work(*arguments))
            return SimpleNamespace(exception=lambda: None, result=lambda: pickle.loads(sent))

    def calibrate(*arguments: Any) -> None:
        raise error

    monkeypatch.setattr(slurm, "connect", lambda folder, parameters: Cluster())
    monkeypatch.setattr(slurm, "calibrate", calibrate)
    with pytest.raises(type(error)) as raised:
        slurm.calibrate_in_job(tmp_path, {}, {}, [], 6, 1, "cpu")
    assert str(raised.value) == str(error)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (["--executor", "slurm"], "--device: expected cpu or cuda, whichever the cluster's nodes have, got auto"),
        (["--executor", "slurm", "--device", "cpu"], "no Slurm here"),
        (["--slurm", "partition=gpu"], "--slurm needs --executor slurm"),
        (["--executor", "slurm", "--slurm", "gpu"], "expected KEY=VALUE, as in partition=gpu, got 'gpu'"),
    ],
)
def test_wrong_options_get_one_clear_line(lot: Callable, tmp_path: Path, options: list[str], line: str) -> None:
    pytest.importorskip("submitit")
    done = lot("study", str(write(tmp_path / "small.yaml", SMALL)), *options)
    assert done.code == 2
    assert line in done.err
    assert not (tmp_path / "studies").exists()


def test_an_unknown_setting_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("submitit")
    monkeypatch.setattr(slurm, "CLUSTER", "local")
    for settings in ({"partitoin": "gpu"}, {"timeout_min": "long"}):
        with pytest.raises(BadInput, match=r"--slurm: .*; as in partition=gpu"):
            next(slurm.submit([order(tmp_path)], tmp_path, 1, settings, []))


def test_without_submitit_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(BadInput, match=r"pip install 'lot-cli\[slurm\]'"):
        next(slurm.submit([order(tmp_path)], tmp_path, 1, {}, []))
