"""Two processes under torchrun train as one process does: same batches, same gradients, one writer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch.distributed
from support import Lot, sets

from lot.storage import checkpoint
from lot.storage.folder import folder_of, problem_of

RUN = ["run", "--attn", "lattice", "--task", "copy_reverse", *sets(), "--set", "model.dropout=0.0"]

pytestmark = pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="needs gloo")


def launch(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """`lot ARGUMENTS` in two processes over loopback."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "lot_cli"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "COLUMNS": "200"}
    return subprocess.Popen(
        [*launcher, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env=environment,
    )


def torchrun(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The same, to its end."""
    process = launch(folder, *arguments)
    said = process.communicate(timeout=180)
    return subprocess.CompletedProcess(process.args, process.returncode, *said)


def test_two_processes_equal_one(lot: Lot, tmp_path: Path) -> None:
    done = torchrun(tmp_path, *RUN, "--run-dir", "two", "--record", "csv", "--json")
    assert done.returncode == 0, done.stderr
    assert "2 processes, the model copied to each (DDP)" in done.stderr
    assert json.loads(done.stdout)["step"] == 24, "one process speaks"
    assert lot(*RUN, "--run-dir", "one").returncode == 0
    one, two = (tmp_path / name / "metrics.jsonl" for name in ("one", "two"))
    rows = [[json.loads(line) for line in file.read_text().splitlines()] for file in (one, two)]
    assert len(rows[0]) == len(rows[1])
    for a, b in zip(*rows, strict=True):
        assert a.keys() == b.keys()
        for key, value in a.items():
            assert b[key] == (pytest.approx(value, rel=1e-3, abs=1e-4) if isinstance(value, float) else value), key
    last = [checkpoint.load(folder_of(tmp_path / name / "checkpoints", 24)) for name in ("one", "two")]
    for name, tensor in last[0].model.items():
        torch.testing.assert_close(last[1].model[name], tensor, rtol=1e-3, atol=1e-4)
    assert json.loads((tmp_path / "two/run.json").read_text())["fingerprint"]["processes"] == 2
    logged = [str(row["step"]) for row in rows[1] if row.get("split") == "train"]
    recorded = (tmp_path / "two/csv/train.csv").read_text().splitlines()[1:]
    assert [line.partition(",")[0] for line in recorded] == logged, "one process records"


def test_a_batch_that_cannot_be_shared_is_refused(tmp_path: Path) -> None:
    done = torchrun(tmp_path, *RUN, "--run-dir", "x", "--set", "train.batch_size=5")
    assert done.returncode != 0
    assert "train.batch_size: expected a multiple of the 2 processes, got 5" in done.stderr


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_sigterm_saves_the_shards_of_all_first(tmp_path: Path) -> None:
    """torchrun tells every process to stop; it reports 1 itself, so status.json has the word."""
    process = launch(tmp_path, *RUN, "--run-dir", "x", "--set", "train.parallel=fsdp", "--set", "train.steps=100000")
    log, status = tmp_path / "x/metrics.jsonl", tmp_path / "x/status.json"
    for _ in range(600):
        if log.exists() and len(log.read_bytes().splitlines()) > 3:
            break
        time.sleep(0.1)
    process.terminate()
    _, stderr = process.communicate(timeout=60)
    assert "2 processes, the model sharded over them (FSDP)" in stderr
    found = json.loads(status.read_text())
    assert (found["state"], found["exit_code"]) == ("interrupted", 143), stderr
    assert found["message"].startswith(f"stopped by SIGTERM; saved at step {found['step']}; continue with: lot run")
    assert problem_of(folder_of(tmp_path / "x/checkpoints", found["step"])) is None


def test_weights_that_a_neutral_run_does_not_use_stop_no_process(lot: Lot, tmp_path: Path) -> None:
    for kind in ("ddp", "fsdp"):
        neutral = ["--set", "train.neutral=true", "--set", "train.steps=6", "--set", f"train.parallel={kind}"]
        done = torchrun(tmp_path, *RUN, *neutral, "--run-dir", kind)
        assert done.returncode == 0, done.stderr
    vanilla = [word if word != "lattice" else "vanilla" for word in RUN]
    assert lot(*vanilla, "--set", "train.steps=6", "--run-dir", "one").returncode == 0
    losses = []
    for name in ("ddp", "fsdp", "one"):
        rows = map(json.loads, (tmp_path / name / "metrics.jsonl").read_text().splitlines())
        losses.append([row["loss"] for row in rows if row.get("split") == "train"])
    assert losses[0] == pytest.approx(losses[2], rel=1e-3)
    assert losses[1] == pytest.approx(losses[2], rel=1e-3)
