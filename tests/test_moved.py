"""A run is used where the files that it was trained on are not: it keeps what that takes, and says what it lacks."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from support import Lot

TEXT = "the cat sat on the mat and the dog ate it all up\n" * 300
SIZES = {
    "task.seq_len": 16,
    "model.width": 16,
    "model.heads": 2,
    "model.layers": 1,
    "train.steps": 4,
    "train.batch_size": 4,
    "train.save_every": 2,
    "train.eval_every": 2,
}


def train(lot: Lot, task: str, *more: str, attn: str = "vanilla") -> None:
    """A run in `here/r`, on `here/own.txt`, which is then gone; the folder of the run is moved to `there/r`."""
    Path("here").mkdir()
    Path("here/own.txt").write_text(TEXT)
    words = [word for key, value in SIZES.items() for word in ("--set", f"{key}={value}")]
    done = lot(
        "run", "--task", task, "--attn", attn, "--set", "task.path=here/own.txt", *words, *more, "--run-dir", "here/r"
    )
    assert done.returncode == 0, done.stderr
    Path("there").mkdir()
    shutil.move("here/r", "there/r")
    Path("here/own.txt").rename("kept.txt")


@pytest.mark.parametrize(("task", "attn"), [("char_lm", "lattice"), ("word_lm", "vanilla"), ("bytes_lm", "vanilla")])
def test_a_moved_run_generates_and_is_exported_without_its_text(lot: Lot, task: str, attn: str) -> None:
    train(lot, task, attn=attn)
    done = lot("generate", "there/r", "--prompt", "the cat", "--tokens", "3", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["prompt"]["text"] == "the cat"
    assert lot("export", "there/r", "w.safetensors").returncode == 0
    assert lot("plot", "there/r", "curves").returncode == 0


def test_what_needs_the_text_says_which_file_and_takes_it(lot: Lot) -> None:
    train(lot, "char_lm")
    digest = hashlib.sha256(TEXT.encode()).hexdigest()
    for command in (["eval", "there/r"], ["ablate", "there/r"], ["generate", "there/r"]):
        refused = lot(*command)
        assert refused.returncode == 2, refused.stderr
        assert f"{Path('here/own.txt').absolute()}, {len(TEXT):,} bytes, sha256 {digest}" in " ".join(
            refused.stderr.split()
        )
        assert "--data FILE" in refused.stderr
        assert lot(*command, "--data", "kept.txt").returncode == 0
    recorded = json.loads(Path("there/r/metrics.json").read_text())["metrics"]
    again = json.loads(lot("eval", "there/r", "--data", "kept.txt", "--json").stdout)["metrics"]
    assert again == pytest.approx(recorded, rel=1e-6)


def test_another_text_is_told_and_measured_with_the_vocabulary_of_the_run(lot: Lot) -> None:
    train(lot, "char_lm")
    Path("other.txt").write_text("a dog and a zebra\n" * 500)
    done = lot("eval", "there/r", "--data", "other.txt", "--json")
    assert done.returncode == 0, done.stderr
    assert "no longer those of the training" in done.stderr


def test_training_goes_on_elsewhere_with_the_same_text_only(lot: Lot) -> None:
    train(lot, "char_lm")
    weights = Path("there/r/checkpoints/step_00000004/model.safetensors")
    expected = weights.read_bytes()
    shutil.rmtree(weights.parent)
    Path("there/r/metrics.json").unlink()
    go_on = ["run", "--resume", "--run-dir", "there/r"]
    refused = lot(*go_on)
    assert refused.returncode == 2
    assert "--data FILE" in refused.stderr
    Path("other.txt").write_text(TEXT.replace("cat", "cow"))
    refused = lot(*go_on, "--data", "other.txt")
    assert refused.returncode == 2
    assert hashlib.sha256(TEXT.encode()).hexdigest() in refused.stderr
    done = lot(*go_on, "--data", "kept.txt")
    assert done.returncode == 0, done.stderr
    assert weights.read_bytes() == expected


def test_the_configuration_keeps_a_path_as_typed_and_the_record_has_it_absolute(lot: Lot) -> None:
    train(lot, "char_lm")
    assert "path: here/own.txt" in Path("there/r/config.yaml").read_text()
    known = json.loads(Path("there/r/run.json").read_text())["files"]["task.path"]
    assert known == {
        "path": str(Path("here/own.txt").absolute()),
        "bytes": len(TEXT),
        "sha256": hashlib.sha256(TEXT.encode()).hexdigest(),
    }


def test_a_damaged_asset_is_named(lot: Lot) -> None:
    train(lot, "char_lm")
    kept = Path("there/r/assets/task.json")
    kept.write_text(kept.read_text().replace('"characters"', '"words-2"'))
    refused = lot("generate", "there/r", "--prompt", "the")
    assert refused.returncode == 2
    assert f"{Path('there/r/assets/task.json')}: damaged" in refused.stderr


def test_a_run_without_assets_is_used_as_before(lot: Lot) -> None:
    train(lot, "char_lm")
    shutil.rmtree("there/r/assets")
    assert "cannot be read" in lot("eval", "there/r").stderr
    assert lot("eval", "there/r", "--data", "kept.txt").returncode == 0
    Path("kept.txt").rename("here/own.txt")
    assert lot("eval", "there/r").returncode == 0


def test_a_complete_run_without_checkpoints_is_told_how_it_can_be_used_again(lot: Lot) -> None:
    train(lot, "char_lm")
    shutil.rmtree("there/r/checkpoints")
    for words in (["eval", "there/r"], ["generate", "there/r"], ["eval", "there/r", "--checkpoint", "last"]):
        done = lot(*words)
        assert done.returncode == 2
        assert "there/r: no sound checkpoint, though the run is complete; restore its folder checkpoints" in done.stderr
        assert "remove its metrics.json, and lot run --resume --run-dir there/r trains it anew" in done.stderr
    Path("there/r/metrics.json").unlink()
    assert "train it first: lot run --resume --run-dir there/r" in lot("eval", "there/r").stderr
