"""`lot run --record`: several recorders at once, also where a run is resumed, and what is told where one cannot work."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support import Lot, sets

RUN = ["run", "--attn", "vanilla", "--task", "copy_reverse", *sets(), "--run-dir", "r"]
BLOCK = """
import importlib.util, sys
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name == "trackio" else find(name, package)
from lot_cli.main import main
code = main(sys.argv[1:])
assert "torch" not in sys.modules
sys.exit(code)
"""
"""The command on a machine without Trackio; it must not have imported torch."""


def steps(table: Path) -> list[int]:
    """The steps of a CSV table."""
    header, *lines = table.read_text().splitlines()
    assert header.startswith("step,")
    return [int(line.partition(",")[0]) for line in lines]


def logged(split: str) -> list[int]:
    rows = map(json.loads, Path("r/metrics.jsonl").read_text().splitlines())
    return [row["step"] for row in rows if row.get("split") == split]


def test_a_run_is_recorded_where_it_is_asked_for(lot: Lot) -> None:
    done = lot(*RUN, "--record", "csv", "--set", "recorders.tensorboard=null", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["step"] == 24
    assert not list(Path("r").glob("events*"))
    for split in ("train", "validation"):
        assert steps(Path(f"r/csv/{split}.csv")) == logged(split)
    recorded = Path("r/config.yaml").read_text()
    assert "recorders:" in recorded
    done = lot("run", "--config", "r/config.yaml", "--run-dir", "again", "--set", "train.steps=2")
    assert done.returncode == 0, done.stderr
    assert Path("again/csv/train.csv").exists()


def test_a_resumed_run_takes_another_recorder(lot: Lot) -> None:
    assert lot(*RUN).returncode == 0
    before = Path("r/metrics.jsonl").read_bytes()
    Path("r/metrics.json").unlink()  # as if it had been killed before its end
    done = lot("run", "--resume", "--run-dir", "r", "--record", "csv")
    assert done.returncode == 0, done.stderr
    assert Path("r/metrics.jsonl").read_bytes() == before
    assert steps(Path("r/csv/train.csv")) == logged("train")


def test_a_missing_package_is_one_line_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = subprocess.run([sys.executable, "-c", BLOCK, *RUN, "--record", "trackio"], capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert done.stderr == (
        "error: recorders.trackio: the package trackio is not installed; pip install 'lot-core[trackio]'\n"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs a folder that refuses a file")
def test_a_recorder_that_fails_costs_the_run_nothing(lot: Lot) -> None:
    Path("r").mkdir()
    done = lot(*RUN)
    assert done.returncode == 0, done.stderr
    log = Path("r/metrics.jsonl").read_bytes()
    Path("r/metrics.json").unlink()
    Path("r/csv").write_text("in the way")
    done = lot("run", "--resume", "--run-dir", "r", "--record", "csv", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["step"] == 24
    assert done.stderr.count("recorder csv: left out from here on (FileExistsError") == 1
    assert Path("r/metrics.jsonl").read_bytes() == log
