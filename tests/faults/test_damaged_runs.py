"""Any file of a run or of a study, damaged in any way: harmless, or refused in one line with exit code 2 or 3."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from support import Lot, sets

from faults.damage import KINDS, answered, damage
from faults.rounds import ROUNDS, fresh

RUN = ["run", "--attn", "lattice", "--task", "copy_reverse", *sets()]
STUDY = """
base:
  task: {name: copy_reverse, vocab_size: 8, seq_len: 8, validation_examples: 16, test_examples: 16}
  model: {width: 16, heads: 2, layers: 1}
  train: {steps: 4, batch_size: 4, log_every: 2, eval_every: 2, save_every: 4, precision: fp32, compile: off}
arms: {vanilla: {}, smooth: {losses: {cross_entropy: {label_smoothing: 0.2}}}}
seeds: 2
metrics: [token_accuracy, loss]
tune: {optim.lr: [1.0e-3, 1.0e-2]}
hypotheses: [smoothing helps]
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small finished run with pictures."""
    from lot_cli.main import main

    folder = tmp_path_factory.mktemp("finished") / "x"
    assert main([*RUN, "--run-dir", str(folder)]) == 0
    assert main(["plot", str(folder), "curves"]) == 0
    return folder


COMMANDS = {
    "runs": ["runs", "."],
    "eval": ["eval", "x"],
    "plot": ["plot", "x"],
    "report": ["report", "x"],
    "generate": ["generate", "x", "--tokens", "2"],
    "export": ["export", "x", "out.safetensors", "--force"],
    "resume a complete run": ["run", "--resume", "--run-dir", "x"],
    "resume a killed run": ["run", "--resume", "--run-dir", "x"],
}


def test_every_file_of_a_run(lot: Lot, finished: Path, tmp_path: Path) -> None:
    rng = fresh()
    files = sorted(
        path.relative_to(finished) for path in finished.rglob("*") if path.is_file() and not path.is_symlink()
    )
    assert len(files) > 15
    for turn in range(ROUNDS):
        for number, file in enumerate(files):
            for kind in KINDS if ROUNDS > 1 else [KINDS[(number + shift) % len(KINDS)] for shift in (0, 3, 7)]:
                command = rng.choice(list(COMMANDS))
                shutil.rmtree(tmp_path / "x", ignore_errors=True)
                shutil.copytree(finished, tmp_path / "x", symlinks=True)
                damage(tmp_path / "x" / file, kind, rng)
                if command == "resume a killed run":
                    (tmp_path / "x/metrics.json").unlink(missing_ok=True)
                answered(lot(*COMMANDS[command]), f"round {turn}: {file} {kind}, {command}")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small study that is finished and registered."""
    from lot_cli.main import main

    folder = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        (folder / "s.yaml").write_text(STUDY)
        assert main(["study", "s.yaml", "--register"]) == 0
        assert main(["study", "s.yaml"]) == 0
    return folder


def test_every_file_of_a_study(lot: Lot, study: Path, tmp_path: Path) -> None:
    rng = fresh()
    inside = sorted(path.relative_to(study) for path in study.rglob("*") if path.is_file() and not path.is_symlink())
    runs = [path for path in inside if "checkpoints" not in path.parts and path.name != "s.yaml"]
    by_name = {path.name if "cost" not in path.name else "cost": path for path in rng.sample(runs, len(runs))}
    for turn in range(ROUNDS):
        chosen = [by_name[name] for name in sorted(by_name)] if turn == 0 else rng.sample(runs, min(len(runs), 20))
        for number, file in enumerate(chosen):
            kind = KINDS[(number + turn) % len(KINDS)] if turn == 0 else rng.choice(KINDS)
            for entry in tmp_path.iterdir():
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
            shutil.copytree(study, tmp_path, symlinks=True, dirs_exist_ok=True)
            damage(tmp_path / file, kind, rng)
            for options in (["--report-only"], []) if ROUNDS > 1 else [rng.choice([["--report-only"], []])]:
                answered(lot("study", "s.yaml", *options), f"round {turn}: {file} {kind}, study {options}")


@pytest.mark.parametrize("file", ["metrics.json", "metrics.jsonl", "run.json", "timing.jsonl"])
def test_a_damaged_run_of_a_study_costs_only_itself(lot: Lot, study: Path, tmp_path: Path, file: str) -> None:
    shutil.copytree(study, tmp_path, symlinks=True, dirs_exist_ok=True)
    (place,) = (tmp_path / "studies").iterdir()
    before = (place / "study.json").read_text()
    runs = sorted(path.parent for path in (place / "runs").glob("*/metrics.json"))
    others = {path: path.stat().st_mtime_ns for path in runs[1:]}
    (runs[0] / file).write_text("[[[\n")
    (place / "study.json").unlink()
    done = lot("study", "s.yaml")
    assert done.returncode == 0, done.stderr
    assert re.search(rf"{runs[0].name}/{file}(, line 1)?: damaged", done.stderr), done.stderr
    assert {path: path.stat().st_mtime_ns for path in others} == others, "another run was made again"
    assert len(list((place / "runs").glob(".damaged-*"))) == 1
    assert _without_times((place / "study.json").read_text()) == _without_times(before)


def _without_times(text: str) -> dict[str, object]:
    result = json.loads(text)
    return {"runs": result["runs"], "comparisons": result["comparisons"], "metrics": result["metrics"]}
