"""A sweep that was moved, whose data are gone, or whose place is taken; and what it once passed over in silence."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from study_support import RUN

pytest.importorskip("lot_tasks")


def base(task: str, **options: Any) -> list[str]:
    """The small run on another task."""
    tables = {**RUN, "task": options}
    words = ["--task", task]
    for section, table in tables.items():
        words += [word for k, v in table.items() if k != "name" for word in ("--set", f"{section}.{k}={v}")]
    return words


def test_a_moved_sweep_is_where_its_file_is(lot: Callable, tmp_path: Path) -> None:
    assert lot("sweep", *base("copy_reverse", seq_len=8), "--set", "optim.lr=1e-3,1e-2", "--name", "s").code == 0
    found = json.loads((tmp_path / "sweeps/s/sweep.json").read_text())
    (tmp_path / "else where").mkdir()
    shutil.move(tmp_path / "sweeps/s", tmp_path / "else where/moved")
    for more in ((), ("--report-only",), ("--plan",)):
        done = lot("sweep", "else where/moved/sweep.yaml", *more)
        assert done.code == 0, done.err
        assert ", seed " not in done.err, "no run was made again"
    assert not (tmp_path / "sweeps/s").exists()
    again = json.loads((tmp_path / "else where/moved/sweep.json").read_text())
    assert again["rows"] == found["rows"]
    assert again["command"] == "lot sweep 'else where/moved/sweep.yaml'"
    refused = lot("report", "else where/moved")
    assert (refused.code, "is the folder of a sweep, and no run; lot sweep FILE" in refused.err) == (2, True)


@pytest.mark.parametrize("task", ["char_lm", "text_stream"])
def test_the_report_needs_no_data(lot: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: str) -> None:
    monkeypatch.setenv("LOT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "data").mkdir()
    documents = "\n\n".join(f"the fox {number} jumps over {number % 7} dogs" for number in range(900))
    (tmp_path / "data/own.txt").write_text(documents)
    place = "data/own.txt" if task == "char_lm" else "data"
    words = [*base(task, seq_len=8, path=place), "--set", "optim.lr=1e-3,1e-2", "--name", "s"]
    done = lot("sweep", *words)
    assert done.code == 0, done.err
    files = {name: (tmp_path / "sweeps/s" / name).read_bytes() for name in ("sweep.csv", "best.yaml")}
    shutil.move(tmp_path / "data", tmp_path / "gone")
    (tmp_path / "sweeps/s/best.yaml").unlink()
    for what in (words, ("sweeps/s/sweep.yaml",)):
        done = lot("sweep", *what, "--report-only")
        assert done.code == 0, done.err
        assert {name: (tmp_path / "sweeps/s" / name).read_bytes() for name in files} == files
    assert lot("sweep", "sweeps/s/sweep.yaml").code == 2, "to make runs, the data are needed"


def test_a_report_of_options_that_cannot_be_is_refused_all_the_same(lot: Callable, tmp_path: Path) -> None:
    words = [*base("copy_reverse", seq_len=8), "--name", "s"]
    assert lot("sweep", *words, "--set", "optim.lr=1e-3,1e-2").code == 0
    done = lot("sweep", *words, "--set", "optim.lr=1e-3,-1", "--report-only")
    assert (done.code, "optim.lr: " in done.err) == (2, True)


@pytest.mark.parametrize("content", ["{", "\x00", "a: [", None])
def test_what_lies_in_the_place_of_an_unnamed_sweep_is_passed_by(
    lot: Callable, tmp_path: Path, content: str | None
) -> None:
    place = tmp_path / "sweeps/copy_reverse-vanilla-lr"
    place.mkdir(parents=True)
    if content is None:
        (place / "sweep.yaml").mkdir()
    else:
        (place / "sweep.yaml").write_text(content)
    (tmp_path / "sweeps/copy_reverse-vanilla-lr-2").write_text("a file")
    done = lot("sweep", *base("copy_reverse", seq_len=8), "--set", "optim.lr=1e-3,1e-2")
    assert done.code == 0, done.err
    assert (tmp_path / "sweeps/copy_reverse-vanilla-lr-3/sweep.json").is_file()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--set", "train.test=true"], "train.test: expected not to be given"),
        (["--objective", ""], "objective: expected a metric of the task: exact_match, loss, token_accuracy, got ''"),
        (
            ["--set", "model.max_len=8", "--set", "task.seq_len=6,12"],
            "with lr=0.001, seq_len=12: model.max_len: expected at least the task's 12 tokens, got 8",
        ),
    ],
)
def test_it_is_refused_before_a_run(lot: Callable, tmp_path: Path, words: list[str], line: str) -> None:
    done = lot("sweep", *base("copy_reverse"), "--set", "optim.lr=1e-3,1e-2", *words)
    assert done.code == 2
    assert line in done.err
    assert not (tmp_path / "sweeps").exists()


def test_a_run_file_may_say_that_its_run_tests(lot: Callable, tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(json.dumps({**RUN, "train": {**RUN["train"], "test": True}}))
    assert lot("sweep", "--config", "run.yaml", "--set", "optim.lr=1e-3,1e-2", "--plan").code == 0
