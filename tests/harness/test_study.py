"""`lot harness STUDY`: every run of a study is asked, and its arms are compared by seed and by example."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from harness.tasks import QUESTIONS, write_tasks
from support import Lot, refused

from lot_cli.study.analysis.judge import judge

pytest.importorskip("lm_eval")

STUDY = """
name: pair
base:
  task: {name: bytes_lm, seq_len: 32}
  model: {width: 16, heads: 2, layers: 1}
  train: {steps: 4, batch_size: 4, warmup: 2, eval_examples: 8, compile: "off"}
arms:
  vanilla: {}
  lattice: {attn: {name: lattice}}
differs: {parameters: the lattice adds a few}
seeds: 2
"""


@pytest.mark.slow
def test_the_runs_of_a_study_are_asked_and_compared(lot: Lot, hub: Path) -> None:
    write_tasks(hub / "tasks")
    Path("pair.yaml").write_text(STUDY)
    refused(lot("harness", "pair.yaml", "tasks"), "studies/pair: no finished study there", "make it first")
    made = lot("study", "pair.yaml")
    assert made.returncode == 0, made.stderr
    done = lot("harness", "studies/pair", "tasks/choice.yaml", "tasks/rolling.yaml", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["metrics"] == {
        "choice acc": True, "choice acc_norm": True, "rolling word_perplexity": False, "rolling bits_per_byte": False,
    }  # fmt: skip
    study = json.loads(Path("studies/pair/study.json").read_text())
    scores: dict[str, dict[str, list[float | None]]] = {"vanilla": {}, "lattice": {}}
    for row in study["runs"]:
        (kept,) = Path("studies/pair/runs", row["key"], "harness").glob("choice-*.json")
        accuracy = json.loads(kept.read_text())["metrics"]["acc,none"]
        scores[row["arm"]].setdefault("choice acc", []).append(accuracy)
        assert document["scores"][row["arm"]]["choice acc"][row["seed"]] == accuracy
    (expected,) = judge(scores, [("lattice", "vanilla")], {"choice acc": True}, {}, 0.05)
    (found,) = [c for c in document["comparisons"] if c["metric"] == "choice acc"]
    assert found["mean"] == pytest.approx(expected.mean)
    assert (found["verdict"], found["examples"]) == ("too few pairs", len(QUESTIONS))
    (ratio,) = [c for c in document["comparisons"] if c["metric"] == "rolling bits_per_byte"]
    assert ratio["example_error"] > 0
    (kept,) = Path("studies/pair/harness").iterdir()
    assert json.loads(kept.read_text())["comparisons"] == document["comparisons"]

    again = lot("harness", "pair.yaml", "tasks/choice.yaml", "tasks/rolling.yaml")  # by the file of the study
    assert again.stderr.count("2 tasks, 2 of them measured before") == 4
    assert "in one family, at alpha = 0.05, apart from the tests of the study itself" in again.stdout
    refused(lot("harness", "studies/pair", "tasks", "--checkpoint", "last"), "--checkpoint")
    shutil.rmtree(Path("studies/pair/runs", study["runs"][0]["key"]))
    refused(lot("harness", "studies/pair", "tasks"), "the run vanilla-seed0 is gone")
