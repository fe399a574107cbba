"""Bad input and bad luck, from the outside: one clear line, the right exit code, nothing lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support import Lot, refused, sets

from lot.storage.folder import folder_of, saved_steps

RUN = ["run", "--attn", "vanilla", "--task", "copy_reverse", *sets()]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--attn", "latice"], ["latice", "lattice"]),
        (["--task", "copy_revers"], ["copy_revers", "copy_reverse"]),
        (["--optim", "adam"], ["adam", "adamw"]),
        (["--loss", "synch"], ["synch", "sync"]),
        (["--set", "attn.couplng=1"], ["attn.couplng", "unknown option"]),
        (["--attn", "lattice", "--set", "attn.couplng=1"], ["attn.couplng", "did you mean 'coupling'"]),
        (["--set", "optim.lr=fast"], ["optim.lr", "expected float", "'fast'"]),
        (["--set", "optim.lr=-1"], ["optim.lr", ">= 0", "-1"]),
        (["--set", "model.heads=3"], ["model.heads", "divisor", "16", "3"]),
        (["--attn", "lattice", "--set", "attn.lattice_shape=[3, 2]"], ["attn.lattice_shape", "4"]),
        (["--set", "task.seq_len=0"], ["task.seq_len", "0"]),
        (["--set", "train.steps=3.7"], ["train.steps", "expected int", "3.7"]),
        (["--set", "allow_leak='false'"], ["allow_leak", "expected bool"]),
        (["--set", "model.width"], ["PATH=VALUE"]),
        (["--set", "modle.width=3"], ["modle", "did you mean 'model'"]),
        (["--set", "model.width=1000000", "--set", "model.heads=1"], ["memory", "GiB"]),
        (["--loss", "sync"], ["sync", "phase", "vanilla", "lattice"]),
        (["--set", "attn.causal=false"], ["leak", "allow_leak"]),
        (["--set", "attn.layers.9.name=vanilla"], ["attn.layers.9", "0 to 1"]),
        (["--config", "absent.yaml"], ["absent.yaml", "cannot be read"]),
        (["--device", "cuda:99"], ["--device", "cpu"]),
        (["--name", "../escape"], ["--name"]),
    ],
)
def test_bad_input_is_one_line_and_touches_nothing(
    lot: Lot, tmp_path: Path, arguments: list[str], words: list[str]
) -> None:
    refused(lot(*RUN, *arguments), *words)
    assert list(tmp_path.iterdir()) == [], "something was written"


def test_bad_files(lot: Lot, tmp_path: Path) -> None:
    (tmp_path / "not.yaml").write_text("a: [")
    (tmp_path / "list.yaml").write_text("[1, 2]")
    bomb = "\n".join(f"k{i}: &k{i} [{', '.join([f'*k{i - 1}' if i else 'x'] * 9)}]" for i in range(12))
    (tmp_path / "bomb.yaml").write_text(bomb)
    refused(lot("run", "--config", "not.yaml"), "not.yaml", "line 1")
    refused(lot("run", "--config", "list.yaml"), "list.yaml", "table")
    began = time.monotonic()
    refused(lot("run", "--config", "bomb.yaml"), "bomb.yaml", "aliases")
    assert time.monotonic() - began < 30
    refused(lot("run", "--task", "char_lm", "--set", "task.path=absent.txt"), "absent.txt")
    (tmp_path / "binary.txt").write_bytes(b"hello \xff\xfe" * 1000)
    refused(lot("run", "--task", "char_lm", "--set", "task.path=binary.txt"), "binary.txt", "6")
    (tmp_path / "short.txt").write_text("too short")
    refused(lot("run", "--task", "char_lm", "--set", "task.path=short.txt"), "short.txt")
    refused(lot("run"), "task")
    refused(lot("run", "--resume", "--run-dir", "absent"), "absent", "no run")


def test_a_run_in_use_or_there_already(lot: Lot, tmp_path: Path) -> None:
    from filelock import FileLock

    (tmp_path / "x").mkdir()
    with FileLock(tmp_path / "x" / ".lock"):
        refused(lot(*RUN, "--run-dir", "x"), "x is in use")
    assert lot(*RUN, "--run-dir", "x").returncode == 0
    before = {p: p.read_bytes() for p in (tmp_path / "x").rglob("*") if p.is_file()}
    refused(lot(*RUN, "--run-dir", "x"), "holds a run already", "--resume")
    refused(lot(*RUN, "--seed", "5", "--run-dir", "x", "--resume"), "seed is 5, was 0")
    done = lot(*RUN, "--run-dir", "x", "--resume", "--json")
    assert done.returncode == 0
    assert "complete already" in done.stderr
    assert json.loads(done.stdout)["metrics"].keys() >= {"exact_match", "loss"}
    assert {p: p.read_bytes() for p in (tmp_path / "x").rglob("*") if p.is_file()} == before


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_read_only_folder(lot: Lot, tmp_path: Path) -> None:
    (tmp_path / "fixed").mkdir(mode=0o500)
    refused(lot(*RUN, "--run-dir", "fixed/x"), "cannot be written")


def test_a_file_where_the_folder_should_be(lot: Lot, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    refused(lot(*RUN, "--run-dir", "file/x"), "cannot be written")
    assert (tmp_path / "file").read_text() == "mine"


def test_divergence_stops_before_the_update(lot: Lot, tmp_path: Path) -> None:
    done = lot(*RUN, "--run-dir", "x", "--set", "optim.lr=1e30", "--set", "train.warmup=0", "--set", "train.clip=null")
    refused(
        done,
        "not finite at step",
        "last good checkpoint" if saved_steps(tmp_path / "x/checkpoints") else "",
        code=3,
    )
    status = json.loads((tmp_path / "x/status.json").read_text())
    assert status["state"] == "failed"
    assert status["exit_code"] == 3
    assert not (tmp_path / "x/metrics.json").exists()


@pytest.mark.skipif(os.name != "posix", reason="signals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_an_interrupted_run_saves_first(tmp_path: Path, lot: Lot, number: int, code: int) -> None:
    command = [sys.executable, "-m", "lot_cli", *RUN, "--run-dir", "x", "--set", "train.steps=100000"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    log = tmp_path / "x/metrics.jsonl"
    for _ in range(600):
        if log.exists() and len(log.read_bytes().splitlines()) > 3:
            break
        time.sleep(0.1)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code, errors
    assert "Traceback" not in errors
    status = json.loads((tmp_path / "x/status.json").read_text())
    assert (status["state"], status["exit_code"]) == ("interrupted", code)
    saved = saved_steps(tmp_path / "x/checkpoints")
    assert saved[-1] == status["step"]
    assert f"saved at step {saved[-1]}" in errors
    assert "error" not in errors, "being told to stop is no error"


LONG_STEP = """
import sys, time
import lot.training.interruption as interruption
from lot.training.trainer import Trainer
from lot_cli.main import main

interruption.PATIENCE = 0.5
step = Trainer.train_step

def slow(trainer):
    step(trainer)
    if trainer.step == 8:  # a checkpoint of step 6 is there
        print("slow", flush=True)
        time.sleep(300)

Trainer.train_step = slow
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_sigterm_is_heeded_within_a_step_that_takes_minutes(tmp_path: Path, lot: Lot) -> None:
    command = [sys.executable, "-c", LONG_STEP, *RUN, "--run-dir", "x", "--set", "task.seq_len=10"]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "slow\n"
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 143, errors
    assert "stopped by SIGTERM in the middle of a step" in errors
    assert "step_00000006" in errors
    status = json.loads((tmp_path / "x/status.json").read_text())
    assert (status["state"], status["exit_code"]) == ("interrupted", 143)
    assert lot("run", "--resume", "--run-dir", "x").returncode == 0
    assert lot(*RUN, "--run-dir", "y", "--set", "task.seq_len=10").returncode == 0
    assert (tmp_path / "x/metrics.jsonl").read_bytes() == (tmp_path / "y/metrics.jsonl").read_bytes()


def test_damaged_checkpoints(lot: Lot, tmp_path: Path) -> None:
    process = lot(*RUN, "--run-dir", "x")
    assert process.returncode == 0
    (tmp_path / "x/metrics.json").unlink()  # as if it had been killed before the end
    folder = tmp_path / "x/checkpoints"
    newest = folder_of(folder, saved_steps(folder)[-1])
    with (newest / "model.safetensors").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x01")
    done = lot("run", "--resume", "--run-dir", "x")
    assert done.returncode == 0, done.stderr
    assert f"checkpoint {newest.name} is damaged" in done.stderr
    (tmp_path / "x/metrics.json").unlink()
    for step in saved_steps(folder):
        (folder_of(folder, step) / "state.json").write_text("{}")
    done = lot("run", "--resume", "--run-dir", "x")  # says what it goes on with, and which checkpoints it sets aside
    assert done.returncode == 2
    assert "all 2 checkpoints are damaged" in done.stderr.splitlines()[-1]
    refused(lot("eval", "x"), "no sound checkpoint")


def test_a_foreign_checkpoint(lot: Lot, tmp_path: Path) -> None:
    for name, seed in (("x", "1"), ("y", "2")):
        assert lot(*RUN, "--run-dir", name, "--seed", seed).returncode == 0
    (tmp_path / "y/metrics.json").unlink()
    import shutil

    shutil.rmtree(tmp_path / "y/checkpoints")
    shutil.copytree(tmp_path / "x/checkpoints", tmp_path / "y/checkpoints")
    before = {p: p.read_bytes() for p in (tmp_path / "y/checkpoints").rglob("*") if p.is_file()}
    refused(lot("run", "--resume", "--run-dir", "y"), "seed is 2, was 1")
    assert {p: p.read_bytes() for p in (tmp_path / "y/checkpoints").rglob("*") if p.is_file()} == before
