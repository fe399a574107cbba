"""Two processes under torchrun train as one process does: same batches, same gradients, one writer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch.distributed
from support import Lot, sets

from lot import checkpoint

RUN = ["run", "--attn", "lattice", "--task", "copy_reverse", *sets(), "--set", "model.dropout=0.0"]

pytestmark = pytest.mark.skipif(not torch.distributed.is_gloo_available(), reason="needs gloo")


def torchrun(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`lot ARGUMENTS` in two processes over loopback."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "lot_cli"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    return subprocess.run(
        [*launcher, *arguments], capture_output=True, text=True, timeout=180, cwd=folder, env=environment
    )


def test_two_processes_equal_one(lot: Lot, tmp_path: Path) -> None:
    done = torchrun(tmp_path, *RUN, "--run-dir", "two", "--json")
    assert done.returncode == 0, done.stderr
    assert lot(*RUN, "--run-dir", "one").returncode == 0
    one, two = (tmp_path / name / "metrics.jsonl" for name in ("one", "two"))
    rows = [[json.loads(line) for line in file.read_text().splitlines()] for file in (one, two)]
    assert len(rows[0]) == len(rows[1])
    for a, b in zip(*rows, strict=True):
        assert a.keys() == b.keys()
        for key, value in a.items():
            assert b[key] == (pytest.approx(value, rel=1e-3, abs=1e-4) if isinstance(value, float) else value), key
    last = [checkpoint.load(checkpoint.folder_of(tmp_path / name / "checkpoints", 24)) for name in ("one", "two")]
    for name, tensor in last[0].model.items():
        torch.testing.assert_close(last[1].model[name], tensor, rtol=1e-3, atol=1e-4)
    assert json.loads((tmp_path / "two/run.json").read_text())["fingerprint"]["processes"] == 2


def test_a_batch_that_cannot_be_shared_is_refused(tmp_path: Path) -> None:
    done = torchrun(tmp_path, *RUN, "--run-dir", "x", "--set", "train.batch_size=5")
    assert done.returncode != 0
    assert "train.batch_size: expected a multiple of the 2 processes, got 5" in done.stderr
