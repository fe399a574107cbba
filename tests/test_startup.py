"""How a run starts: what it says at once, what it refuses without torch, and what it imports no earlier than it must."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import TINY, sets

TELLING = """
import importlib.abc, sys

class Telling(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name in {"torch", "torch._dynamo", "torchmetrics"} and name not in told:
            told.add(name)
            print(f"<{name}>", file=sys.stderr, flush=True)

told = set()
sys.meta_path.insert(0, Telling())
"""
"""Makes a process say when it begins to import what takes seconds."""
COMMAND = f"{TELLING}\nfrom lot_cli.main import main\nsys.exit(main(sys.argv[1:]))"
RUN = ["run", "--task", "copy_reverse", "--run-dir", "r", *sets(TINY)]


def told(program: str, *arguments: str) -> tuple[int, list[str]]:
    """The exit code of a Python program, and the lines of its stderr."""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], capture_output=True, text=True, timeout=300, check=False
    )
    return done.returncode, done.stderr.splitlines()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["run", "--task", "char_lm", "--set", "task.path=gone.txt"], "task.path: gone.txt cannot be read"),
        (["run", "--task", "text_lm", "--set", "task.tokenizer=gone.json"], "task.tokenizer: gone.json cannot be read"),
        (["run", "--task", "char_lm", "--set", "task.path=a.jsonl"], "task.path: a.jsonl is JSON Lines"),
        (["run", "--task", "char_lm", "--set", "task.path=."], "task.path: . cannot be read"),
        (["run", "--task", "nope"], "unknown task 'nope'"),
        (["run", "--config", "gone.yaml"], "gone.yaml: cannot be read"),
        (["run", "--config", "bad.yaml"], "bad.yaml"),
        ([*RUN, "--set", "train.stps=3"], "train.stps: unknown option"),
        ([*RUN, "--set", "train.steps=-1"], "train.steps: expected"),
        ([*RUN, "--set", "model.heads=3"], "model.heads: expected a divisor of the width 16, got 3"),
        ([*RUN, "--set", "task.seq_len=9"], "task.seq_len: expected an even number, got 9"),
        (
            ["run", "--task", "periodic", "--set", "task.period=999"],
            "task.period: expected at most seq_len (128), got 999",
        ),
        (["run", "--task", "copy_reverse", "--run-dir", "other"], "other: holds other files, and no run"),
        (["run", "--resume", "--run-dir", "gone"], "gone"),
        ([*RUN, "--extend", "gone"], "--extend: expected a run, got gone, which is not there"),
        ([*RUN, "--init-from", "gone"], "--init-from: expected a run or a file, got gone, which is not there"),
        pytest.param(
            ["run", "--task", "copy_reverse", "--run-dir", "n" * 9999],
            "the directory of the run: expected a name of at most",
            marks=pytest.mark.skipif(not hasattr(os, "pathconf"), reason="the system does not say how long"),
        ),
        ([*RUN, "--record", "cvs"], "unknown recorder 'cvs'; did you mean 'csv'?"),
        (
            [*RUN, "--set", "recorders.mlflow.uri=http://me:key@host"],
            "recorders.mlflow.uri: expected an address without a password",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_needs_no_torch_is_refused_without_it(
    arguments: list[str], line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bad.yaml").write_text("task: {name: [\n")
    Path("a.jsonl").write_text('{"text": "words"}\n')
    Path("other").mkdir()
    Path("other/notes.txt").write_text("mine")
    code, lines = told(COMMAND, *arguments)
    assert code == 2
    assert len(lines) >= 1
    assert lines[0].startswith("error: ")
    assert line in lines[0]
    assert not [one for one in lines if one.startswith(("<", "starting"))], "no torch, and nothing was started"


def test_a_run_says_at_once_what_it_starts_and_imports_nothing_too_early(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, lines = told(COMMAND, *RUN, "--attn", "vanilla", "--set", "train.steps=4", "--set", "train.log_every=1")
    assert code == 0, lines
    sign, torch = lines.index("starting vanilla on copy_reverse, 4 steps, seed 0"), lines.index("<torch>")
    first_step = next(i for i, line in enumerate(lines) if line.startswith("step 1/4"))
    assert sign == 0
    assert sign < torch < lines.index("<torch._dynamo>") < first_step < lines.index("<torchmetrics>")
    code, lines = told(COMMAND, "run", "--resume", "--run-dir", "r")
    assert code == 0
    assert lines[0] == "resuming vanilla on copy_reverse, 4 steps, seed 0"


def test_a_run_is_composed_without_the_compiler_and_without_metrics() -> None:
    """Both come with what needs them: an optimizer of torch, and a validation."""
    program = f"""{TELLING}
import lot.training.train
from lot import load_config
from lot.training.compose import compose
compose(load_config({{"task": {{"name": "char_lm"}}, "attn": {{"name": "lattice"}}}}))
"""
    assert told(program) == (0, ["<torch>"])
