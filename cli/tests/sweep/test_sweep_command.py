"""`lot sweep`: what it makes, finds, writes and says; how it goes on; and what it refuses without torch."""

from __future__ import annotations

import csv
import importlib
import io
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
from study_support import RUN, write

pytest.importorskip("lot_tasks")


def base(**train: Any) -> list[str]:
    """The options of the small run; train: options of its training, changed."""
    tables = {**RUN, "train": {**RUN["train"], **train}}
    found = ["--task", "copy_reverse"]
    for section, table in tables.items():
        found += [word for k, v in table.items() if k != "name" for word in ("--set", f"{section}.{k}={v}")]
    return found


BASE = base()
GRID = ["--set", "optim.lr=1e-3,1e-2", "--set", "optim.weight_decay=0,0.1"]
NAME = "copy_reverse-vanilla-lr-weight_decay"


def result_of(folder: Path) -> dict[str, Any]:
    """sweep.json."""
    found: dict[str, Any] = json.loads((folder / "sweep.json").read_text())
    return found


def made_in(err: str) -> list[str]:
    """The runs that were made, as stderr tells them."""
    return [line for line in err.splitlines() if ", seed " in line and "/" in line.split()[0]]


def test_a_grid_is_made_listed_and_kept(lot: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lot_tasks.synthetic.copy_reverse import CopyReverse

    read: set[str] = set()
    original = CopyReverse.batch

    def batch(self: Any, split: str, *arguments: Any) -> Any:
        read.add(split)
        return original(self, split, *arguments)

    monkeypatch.setattr(CopyReverse, "batch", batch)
    done = lot("sweep", *BASE, *GRID, "--objective", "loss", "--seeds", "2")
    assert done.code == 0, done.err
    assert read == {"train", "validation"}
    folder = tmp_path / "sweeps" / NAME
    found = result_of(folder)

    scores = [row["score"] for row in found["rows"]]
    assert len(scores) == 4
    assert scores == sorted(scores)
    assert found["best"] == found["rows"][0]["values"]
    for row in found["rows"]:
        values = [json.loads((folder / "runs" / run["key"] / "metrics.json").read_text()) for run in row["runs"]]
        assert {document["split"] for document in values} == {"validation"}
        losses = [document["metrics"]["loss"] for document in values]
        assert row["score"] == pytest.approx(sum(losses) / 2)
        assert row["spread"] == pytest.approx(abs(losses[0] - losses[1]) / 2**0.5)

    table = list(csv.DictReader(io.StringIO((folder / "sweep.csv").read_text())))
    assert [float(row["objective_loss"]) for row in table] == scores
    assert table[0]["optim.lr"] == str(found["best"]["optim.lr"])
    assert "sweeping optim.lr and optim.weight_decay of copy_reverse-vanilla: 4 configurations x 2 seeds" in done.err
    for text in (done.out, (folder / "report.md").read_text(), (folder / "report.html").read_text()):
        assert "loss on validation (lower is better), 4 configurations x 2 seeds" in text
        assert (
            "is optimistic; measure it on test once, and compare mechanisms with lot study, on other seeds than 0, 1"
            in text
        )
        assert f"lot run --config sweeps/{NAME}/best.yaml" in text
        assert f"lot sweep sweeps/{NAME}/sweep.yaml" in text
    assert len(made_in(done.err)) == 8


def test_the_best_is_trained_again_by_the_command_that_is_told(lot: Callable, tmp_path: Path) -> None:
    assert lot("sweep", *BASE, *GRID).code == 0
    folder = tmp_path / "sweeps" / NAME
    best = folder / "runs" / result_of(folder)["rows"][0]["runs"][0]["key"]
    done = lot("run", "--config", f"sweeps/{NAME}/best.yaml", "--run-dir", "again")
    assert done.code == 0, done.err
    assert (tmp_path / "again" / "metrics.jsonl").read_bytes() == (best / "metrics.jsonl").read_bytes()
    assert json.loads((tmp_path / "again" / "metrics.json").read_text())["split"] == "test"


def test_runs_that_exist_are_used_again(lot: Callable, tmp_path: Path) -> None:
    first = lot("sweep", *BASE, *GRID)
    assert len(made_in(first.err)) == 4
    before = result_of(tmp_path / "sweeps" / NAME)["rows"]

    again = lot("sweep", f"sweeps/{NAME}/sweep.yaml")
    assert (again.code, made_in(again.err)) == (0, [])
    assert "4 of 4 runs made before" in again.err
    assert result_of(tmp_path / "sweeps" / NAME)["rows"] == before

    more = lot("sweep", *BASE, "--set", "optim.lr=1e-3,1e-2,2e-2", "--set", "optim.weight_decay=0,0.1")
    assert [line.split(",")[0].split()[-1] for line in made_in(more.err)] == ["lr=0.02"] * 2
    rows = result_of(tmp_path / "sweeps" / NAME)["rows"]
    assert len(rows) == 6
    assert all(row in rows for row in before)


def test_a_random_search_is_gone_on_with_by_a_larger_count(lot: Callable, tmp_path: Path) -> None:
    words = [*BASE, "--set", "optim.lr=log_uniform(1e-4,1e-2)", "--name", "drawn"]
    assert lot("sweep", *words, "--count", "2").code == 0
    first = result_of(tmp_path / "sweeps" / "drawn")["rows"]
    done = lot("sweep", *words, "--count", "4")
    assert len(made_in(done.err)) == 2
    rows = result_of(tmp_path / "sweeps" / "drawn")["rows"]
    assert len({row["values"]["optim.lr"] for row in rows}) == 4
    assert all(row in rows for row in first)


def test_runs_side_by_side_give_the_same_table(lot: Callable, tmp_path: Path) -> None:
    assert lot("sweep", *BASE, *GRID, "--name", "one").code == 0
    done = lot("sweep", *BASE, *GRID, "--name", "two", "--jobs", "2")
    assert done.code == 0, done.err

    def numbers(name: str) -> list[Any]:
        rows = result_of(tmp_path / "sweeps" / name)["rows"]
        return [(row["values"], row["metrics"], [run["key"] for run in row["runs"]]) for row in rows]

    assert numbers("one") == numbers("two")
    assert "--jobs 2" in result_of(tmp_path / "sweeps" / "two")["command"]


def test_what_diverges_or_fails_is_a_row_and_not_the_end(
    lot: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module("lot.training.train")
    original = module.train
    broken = True

    def train(config: Any, *arguments: Any, **options: Any) -> Any:
        if broken and config.optim.options.lr == 1e-2:
            raise RuntimeError("a plugin's mistake")
        return original(config, *arguments, **options)

    monkeypatch.setattr(module, "train", train)
    words = [*BASE, "--set", "optim.lr=1e30,1e-2,1e-3", "--name", "rows"]
    done = lot("sweep", *words)
    assert done.code == 0, done.err
    rows = result_of(tmp_path / "sweeps" / "rows")["rows"]
    assert [row["runs"][0]["state"] for row in rows] == ["complete", "diverged", "failed"]
    assert [row["values"]["optim.lr"] for row in rows] == [1e-3, 1e30, 1e-2]
    assert "1 run diverged; a configuration with such a run comes after all others" in done.out
    assert "1 run failed (RuntimeError: a plugin's mistake" in done.out
    assert "the same command tries it again" in done.out
    broken = False
    again = lot("sweep", *words)
    assert [line.split()[1] for line in made_in(again.err)] == ["lr=0.01,"]  # what diverged would do so again
    assert [row["runs"][0]["state"] for row in result_of(tmp_path / "sweeps" / "rows")["rows"]].count("complete") == 2


def test_without_any_result_it_fails_and_says_why(lot: Callable, tmp_path: Path) -> None:
    done = lot("sweep", *BASE, "--set", "optim.lr=1e29,1e30", "--name", "wild")
    assert done.code == 3
    assert "no configuration has a finite exact_match; the first: " in done.err
    assert "not finite" in done.err
    folder = tmp_path / "sweeps" / "wild"
    assert result_of(folder)["best"] is None
    assert not (folder / "best.yaml").exists()


def test_a_damaged_run_is_made_again(lot: Callable, tmp_path: Path) -> None:
    words = [*BASE, "--set", "optim.lr=1e-3,1e-2", "--name", "hurt"]
    assert lot("sweep", *words).code == 0
    folder = tmp_path / "sweeps" / "hurt"
    before = result_of(folder)["rows"]
    (folder / "runs" / before[1]["runs"][0]["key"] / "metrics.json").write_text("{")
    survey = lot("sweep", *words, "--report-only")
    assert survey.code == 0, survey.err
    assert "1 run still to be made" in survey.out
    done = lot("sweep", *words)
    assert len(made_in(done.err)) == 1
    assert "set aside as" in done.err
    assert [row["metrics"] for row in result_of(folder)["rows"]] == [row["metrics"] for row in before]


def test_after_a_signal_it_lists_what_is_finished_and_goes_on(lot: Callable, tmp_path: Path) -> None:
    words = [
        *base(steps=150, eval_every=150, save_every=25, log_every=50),
        "--set",
        "optim.lr=1e-3,2e-3,3e-3",
        "--name",
        "stopped",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen(
        [sys.executable, "-m", "lot_cli", "sweep", *words],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    runs = tmp_path / "sweeps" / "stopped" / "runs"
    until = time.monotonic() + 120
    while not (len(list(runs.glob("*/metrics.json"))) >= 1 and len(list(runs.glob("*/metrics.jsonl"))) >= 2):
        assert child.poll() is None, child.communicate()
        assert time.monotonic() < until
        time.sleep(0.02)
    child.send_signal(signal.SIGTERM)
    out, err = child.communicate(timeout=60)
    assert child.returncode == 143, err
    assert "of 3 runs done; the same command goes on from there" in err
    assert "still to be made; the same command goes on" in out
    stopped = result_of(tmp_path / "sweeps" / "stopped")
    finished = [run["key"] for row in stopped["rows"] for run in row["runs"] if run["state"] == "complete"]
    assert 1 <= len(finished) < 3

    done = lot("sweep", *words)
    assert done.code == 0, done.err
    assert len(made_in(done.err)) == 3 - len(finished)
    assert lot("sweep", *words[:-1], "undisturbed").code == 0
    rows = [result_of(tmp_path / "sweeps" / name)["rows"] for name in ("stopped", "undisturbed")]
    assert [row["metrics"] for row in rows[0]] == [row["metrics"] for row in rows[1]]


def test_the_plan_says_how_many_runs_and_what_they_cost_and_writes_nothing(lot: Callable, tmp_path: Path) -> None:
    done = lot("sweep", *BASE, *GRID, "--seeds", "2", "--plan")
    assert done.code == 0, done.err
    assert "4 configurations, chosen by the highest exact_match on validation." in done.out
    assert "The sweep has 8 runs; its folder holds 0 finished runs of them." in done.out
    assert "What is left makes 48 training steps." in done.out
    assert "by training steps timed here, without validations." in done.out
    assert not (tmp_path / "sweeps").exists()
    assert lot("sweep", *BASE, *GRID).code == 0
    done = lot("sweep", *BASE, *GRID, "--seeds", "2", "--plan", "--jobs", "2")
    assert "its folder holds 4 finished runs of them." in done.out
    assert "What is left makes 24 training steps." in done.out
    assert "with 2 at a time, by the median of the runs in the folder." in done.out


def test_json_is_all_that_stdout_gets(lot: Callable, tmp_path: Path) -> None:
    done = lot("sweep", *BASE, "--set", "optim.lr=1e-3,1e-2", "--name", "plain", "--json")
    assert json.loads(done.out) == result_of(tmp_path / "sweeps" / "plain")
    assert "best: optim.lr = " in done.err


def test_a_sweep_from_a_file_says_the_file(lot: Callable, tmp_path: Path) -> None:
    content = {"base": RUN, "grid": {"task.seq_len": [6, 8]}}
    done = lot("sweep", str(write(tmp_path / "lengths.yaml", content)), "--json")
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert (found["name"], found["command"]) == ("lengths", f"lot sweep {tmp_path / 'lengths.yaml'}")
    assert any("task.seq_len changes the data" in warning for warning in found["warnings"])
    assert not (tmp_path / "sweeps" / "lengths" / "sweep.yaml").exists()


def test_a_run_file_is_swept_over(lot: Callable, tmp_path: Path) -> None:
    file = write(tmp_path / "run.yaml", {**RUN, "seed": 4})
    done = lot("sweep", "--config", str(file), "--set", "optim.lr=1e-3,1e-2", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["seeds"] == [4]
    refused = lot("sweep", str(file))
    assert refused.code == 2
    assert f"got the configuration of a run; lot sweep --config {file} --set" in refused.err


def test_a_sweep_belongs_to_one_process(lot: Callable, tmp_path: Path) -> None:
    from lot_cli.study.folder import locked

    with locked(tmp_path / "sweeps" / NAME):
        done = lot("sweep", *BASE, *GRID)
    assert done.code == 2
    assert "is in use by another process" in done.err


def test_a_folder_that_leads_out_is_refused(lot: Callable, tmp_path: Path) -> None:
    words = [*BASE, "--set", "optim.lr=1e-3,1e-2", "--name", "odd"]
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "sweeps" / "odd" / "runs").mkdir(parents=True)
    (tmp_path / "sweeps" / "odd" / "runs" / "key").symlink_to(tmp_path / "elsewhere")
    for more in ((), ("--report-only",)):
        done = lot("sweep", *words, *more)
        assert done.code == 2
        assert "is a link to" in done.err


def test_a_report_that_cannot_be_written_is_told_and_written_later(lot: Callable, tmp_path: Path) -> None:
    words = [*BASE, "--set", "optim.lr=1e-3,1e-2", "--name", "blocked"]
    folder = tmp_path / "sweeps" / "blocked"
    (folder / "sweep.csv").mkdir(parents=True)
    done = lot("sweep", *words)
    assert done.code == 2
    assert "sweeps/blocked: cannot be written" in done.err
    (folder / "sweep.csv").rmdir()
    assert lot("sweep", *words, "--report-only").code == 0
    assert len(result_of(folder)["rows"]) == 2


def test_a_metric_that_the_task_lacks_is_refused_before_a_run(lot: Callable, tmp_path: Path) -> None:
    done = lot("sweep", *BASE, *GRID, "--objective", "accuracy")
    assert done.code == 2
    line = "objective: expected a metric of the task: exact_match, loss, token_accuracy, got 'accuracy'"
    assert line in done.err
    assert not (tmp_path / "sweeps").exists()


def test_on_a_cluster_the_runs_are_jobs(lot: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("submitit")
    from lot_cli.study.execution import slurm

    monkeypatch.setattr(slurm, "CLUSTER", "local")
    monkeypatch.setattr(slurm, "POLL_SECONDS", 0.1)
    words = [*BASE, "--set", "optim.lr=1e-3,1e-2"]
    done = lot("sweep", *words, "--name", "there", "--executor", "slurm", "--slurm", "timeout_min=5", "--device", "cpu")
    assert done.code == 0, done.err
    assert lot("sweep", *words, "--name", "here", "--device", "cpu").code == 0
    there, here = (result_of(tmp_path / "sweeps" / name) for name in ("there", "here"))
    assert [row["metrics"] for row in there["rows"]] == [row["metrics"] for row in here["rows"]]
    assert there["command"].endswith("--device cpu --executor slurm --slurm timeout_min=5")


REFUSED = [
    ("--set optim.lr=1e-3", "nothing to sweep"),
    ("--set optim.lr=1e-3,fast", "optim.lr: expected float, got 'fast'"),
    ("--set optim.rate=1,2", "optim.rate: unknown option"),
    ("--set optim.lr=1,1", "grid.optim.lr: expected each value once"),
    ("--set optim.lr=1,2 --set optim.lr=3", "--set optim.lr: expected each path once"),
    ("--set optim.lr=,", "--set optim.lr: empty value"),
    ("--set optim.lr=linspace(1,2,900)", "limit: expected at most 256 runs, got 900 configurations"),
    ("--set optim.lr=1,2 --limit 1", "limit: expected at most 1 runs"),
    ("--set optim.lr=uniform(0,1)", "count: expected how many configurations to draw"),
    ("--set seed=1,2", "seed: expected no seed"),
    ("--set train.test=true,false", "a sweep never reads the test split"),
    ("--set optim.lr=1,2 --plan --report-only", "--plan and --report-only exclude each other"),
    ("--set optim.lr=1,2 --report-only", "no sweep there; run it without --report-only"),
    ("--set optim.lr=1,2 --slurm a=b", "--slurm needs --executor slurm"),
    ("--set optim.lr=1,2 --name a/b", "name: expected letters, digits"),
    ("nowhere.yaml", "nowhere.yaml: cannot be read"),
    ("nowhere.yaml --count 3", "FILE says all of a sweep; write --count into it, or leave FILE out"),
]


def test_what_can_be_refused_is_refused_in_a_line_without_torch(tmp_path: Path) -> None:
    script = tmp_path / "refuse.py"
    script.write_text(
        "import json, sys, io, contextlib\n"
        "from lot_cli.main import main\n"
        "found = []\n"
        "for words in json.load(open(sys.argv[1])):\n"
        "    err = io.StringIO()\n"
        "    with contextlib.redirect_stderr(err):\n"
        "        code = main(['sweep', *words.split()])\n"
        "    found.append([code, err.getvalue()])\n"
        "print(json.dumps([found, 'torch' in sys.modules]))\n"
    )
    wanted = [words if words.startswith("nowhere") else f"--task copy_reverse {words}" for words, _ in REFUSED]
    (tmp_path / "words.json").write_text(json.dumps(wanted))
    done = subprocess.run(
        [sys.executable, str(script), "words.json"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        timeout=120,
    )
    found, torch_was_imported = json.loads(done.stdout)
    for (code, err), (words, line) in zip(found, REFUSED, strict=True):
        assert code == 2, words
        assert line in err, words
        assert "Traceback" not in err
    assert not torch_was_imported
    assert not (tmp_path / "sweeps").exists()
