"""New runs from old weights: `--extend` goes on in a run of its own, `--init-from` begins with given weights."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from support import Lot, sets

from lot.errors import BadInput
from lot.storage.files import read_json
from lot.training.train import train

RUN = ["run", "--task", "copy_reverse", *sets(), "--set", "train.decay=constant", "--attn", "lattice"]


def files(folder: str) -> dict[str, str]:
    found = [path for path in Path(folder).rglob("*") if path.is_file()]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def ok(lot: Lot, *words: str) -> str:
    done = lot(*words)
    assert done.returncode == 0, done.stderr
    return " ".join(done.stderr.split())


def refused(lot: Lot, *words: str) -> str:
    done = lot(*words)
    assert done.returncode == 2, done.stderr
    return " ".join(done.stderr.split())


def weights(run: str, step: int) -> bytes:
    return Path(run, f"checkpoints/step_{step:08d}/model.safetensors").read_bytes()


def test_an_extension_trains_as_one_long_run_and_leaves_its_parent_alone(lot: Lot) -> None:
    ok(lot, *RUN, "--set", "train.steps=12", "--run-dir", "parent")
    before = files("parent")
    said = ok(lot, "run", "--extend", "parent", "--set", "train.steps=24", "--run-dir", "child")
    assert "parent has been tested" in said
    assert "learning rate jumps" not in said
    assert files("parent") == before
    ok(lot, *RUN, "--run-dir", "whole")
    assert weights("child", 24) == weights("whole", 24)
    recorded = read_json(Path("child/run.json"))["parent"]
    manifest = Path("parent/checkpoints/step_00000012/MANIFEST.json").read_bytes()
    assert recorded == {
        "path": str(Path("parent").absolute()),
        "step": 12,
        "sha256": hashlib.sha256(manifest).hexdigest(),
        "tested": True,
    }
    shutil.rmtree("parent")  # the child has all that it needs
    Path("child/metrics.json").unlink()
    shutil.rmtree("child/checkpoints/step_00000024")
    ok(lot, "run", "--resume", "--run-dir", "child")
    assert weights("child", 24) == weights("whole", 24)


def test_an_extension_that_was_killed_before_its_first_checkpoint_begins_at_its_parent_again(lot: Lot) -> None:
    ok(lot, *RUN, "--set", "train.steps=12", "--run-dir", "parent")
    ok(lot, "run", "--extend", "parent", "--set", "train.steps=24", "--run-dir", "child")
    expected = weights("child", 24)
    for left in ("checkpoints", "snapshots"):
        shutil.rmtree(Path("child", left))
        Path("child", left).mkdir()
    Path("child/metrics.json").unlink()
    ok(lot, "run", "--resume", "--run-dir", "child")
    assert weights("child", 24) == expected
    shutil.rmtree("child/checkpoints")
    Path("child/metrics.json").unlink()
    shutil.rmtree("parent/checkpoints/step_00000012")
    assert "is gone" in refused(lot, "run", "--resume", "--run-dir", "child")


def test_a_test_of_the_parent_is_remembered_by_what_comes_after(lot: Lot) -> None:
    ok(lot, *RUN, "--set", "train.steps=4", "--run-dir", "one")
    ok(lot, "run", "--extend", "one", "--set", "train.steps=6", "--run-dir", "two")
    Path("two/metrics.json").unlink()
    assert "two has been tested" in ok(lot, "run", "--extend", "two", "--set", "train.steps=8", "--run-dir", "three")
    run = Path("two/run.json")
    run.write_text(run.read_text().replace('"tested": true', '"texted": true'))
    assert "damaged (parent" in refused(lot, "run", "--extend", "two", "--set", "train.steps=8", "--run-dir", "four")


def test_a_jump_of_the_learning_rate_is_told_and_made(lot: Lot) -> None:
    ok(lot, *RUN, "--set", "train.steps=12", "--set", "train.test=false", "--run-dir", "parent")
    said = ok(
        lot, "run", "--extend", "parent", "--set", "train.steps=20", "--set", "optim.lr=0.004", "--run-dir", "child"
    )
    assert "the learning rate jumps at step 12: 0.001 in the parent, 0.004 here" in said
    assert "has been tested" not in said
    rows = [json.loads(line) for line in Path("child/metrics.jsonl").read_text().splitlines()]
    assert [row["lr"] for row in rows if row.get("split") == "train"] == [0.004, 0.004]
    assert rows[0]["split"] == "validation" or rows[0].get("diagnostic")  # what it went on from is measured first
    assert read_json(Path("child/run.json"))["parent"]["tested"] is False


def test_what_an_extension_may_not_change_is_refused_by_name(lot: Lot) -> None:
    ok(lot, *RUN, "--set", "train.steps=12", "--run-dir", "parent")
    said = refused(
        lot, "run", "--extend", "parent", "--set", "train.steps=24", "--set", "model.width=32", "--seed", "3"
    )
    assert "cannot change model.width is 32, was 16; seed is 3, was 0" in said
    assert "train.steps: expected more than the 12 that are done" in refused(lot, "run", "--extend", "parent")
    assert not Path("runs").exists()
    for free in ("train.batch_size=8", "train.log_every=3", "diagnostics.grad_norm.every=4"):
        ok(lot, "run", "--extend", "parent", "--set", "train.steps=13", "--set", free)


def test_resume_without_a_name_and_with_other_options_says_what_to_do(lot: Lot) -> None:
    assert "--resume: which run?" in refused(lot, "run", "--resume", "--set", "train.steps=80")
    ok(lot, *RUN, "--run-dir", "r")
    said = refused(lot, "run", "--resume", "--run-dir", "r", "--set", "train.steps=80")
    assert "train.steps is 80, was 24" in said
    assert "lot run --extend RUN" in said
    assert "give one of them" in refused(lot, "run", "--resume", "--extend", "r", "--run-dir", "x")


def test_a_study_takes_no_run_that_began_with_other_weights(lot: Lot) -> None:
    from lot_cli.study.execution.worker import finished_outcome

    ok(lot, *RUN, "--set", "train.steps=12", "--run-dir", "parent")
    ok(lot, "run", "--extend", "parent", "--set", "train.steps=13", "--run-dir", "child")
    ok(lot, *RUN, "--init-from", "parent", "--set", "train.steps=2", "--run-dir", "given")
    assert finished_outcome(Path("parent"), "key") is not None
    for run in ("child", "given"):
        with pytest.raises(BadInput, match="no run of a study or a sweep"):
            finished_outcome(Path(run), "key")


def test_given_weights_are_taken_by_name_and_told(lot: Lot) -> None:
    ok(lot, *RUN, "--run-dir", "old")
    ok(lot, "export", "old", "old.safetensors")
    for source in ("old", "old.safetensors"):
        ok(lot, *RUN, "--init-from", source, "--set", "train.steps=0", "--seed", "5", "--run-dir", f"new-{source}")
        given = load_file(Path(f"new-{source}/checkpoints/step_00000000/model.safetensors"))
        best = load_file(Path("old/best/model.safetensors"))
        assert given.keys() == best.keys()
        assert all(torch.equal(given[name], best[name]) for name in best)
    said = ok(
        lot, *RUN, "--init-from", "old", "--only", "attn", "--set", "train.steps=0", "--seed", "5", "--run-dir", "part"
    )
    part = load_file(Path("part/checkpoints/step_00000000/model.safetensors"))
    taken = {name for name in best if torch.equal(part[name], best[name])}
    assert {name for name in best if ".attention." in name} <= taken
    assert "embedding.table.weight" not in taken
    recorded = read_json(Path("part/run.json"))["init_from"]
    assert f"{len(recorded['taken'])} tensors from" in said
    assert all(".attention." in name for name in recorded["taken"])
    assert recorded["missing"] == recorded["unused"] == []


def test_weights_that_do_not_fit_are_refused_in_one_line(lot: Lot) -> None:
    ok(lot, *RUN, "--set", "train.steps=2", "--run-dir", "old")
    done = lot(*RUN, "--init-from", "old", "--set", "model.width=32", "--run-dir", "new")
    assert done.returncode == 2
    assert "expected shape [16, 32], got [16, 16]" in done.stderr
    assert [line.partition(":")[0] for line in done.stderr.splitlines()[1:]] == [
        "error"
    ]  # after the line that says what starts
    assert not Path("new").exists()
    save_file({"other": torch.zeros(3)}, "foreign.safetensors")
    assert "no tensor has a name of this model" in refused(lot, *RUN, "--init-from", "foreign.safetensors")
    Path("text.safetensors").write_text("no weights")
    assert "cannot be read as safetensors" in refused(lot, *RUN, "--init-from", "text.safetensors")
    assert "--only" in refused(lot, *RUN, "--only", "attn")
    assert "expected one of attn, mlp" in refused(lot, *RUN, "--init-from", "old", "--only", "heads")


def test_what_is_there_and_not_used_is_told(lot: Lot) -> None:
    ok(lot, *RUN, "--set", "train.steps=2", "--run-dir", "old")
    said = ok(lot, *RUN[:-1], "vanilla", "--init-from", "old", "--set", "train.steps=2", "--run-dir", "new")
    assert "there, but not used: blocks.0.attention." in said


def test_a_run_with_given_weights_that_was_killed_at_once_is_given_them_again(lot: Lot) -> None:
    ok(lot, *RUN, "--run-dir", "old")
    new = [*RUN, "--set", "train.steps=6", "--seed", "5", "--run-dir", "new"]
    ok(lot, *new, "--init-from", "old")
    expected = weights("new", 6)
    shutil.rmtree("new/checkpoints")
    Path("new/metrics.json").unlink()
    ok(lot, "run", "--resume", "--run-dir", "new")
    assert weights("new", 6) == expected


def test_another_attention_on_a_recorded_configuration_drops_what_the_old_one_brought(lot: Lot) -> None:
    ok(lot, *RUN, "--loss", "sync", "--set", "train.steps=2", "--run-dir", "old")
    said = ok(lot, "run", "--config", "old/config.yaml", "--attn", "vanilla", "--run-dir", "new")
    assert "left out of old/config.yaml" in said
    for part in ("the options of lattice", "diagnostics.order_parameter", "losses.sync"):
        assert part in said
    config = Path("new/config.yaml").read_text()
    assert "sync" not in config
    said = ok(lot, "run", "--config", "old/config.yaml", "--attn", "phase", "--run-dir", "phase")
    assert "the options of lattice" in said
    assert "order_parameter" not in said.partition("with its attention: ")[2].partition("run ")[0]  # phase has it too


def test_python_takes_the_same(lot: Lot) -> None:
    from lot.config.load import load_config

    ok(lot, *RUN, "--set", "train.steps=4", "--run-dir", "old")
    config = load_config("old/config.yaml", overrides=["train.steps=6"])
    assert train(config, "new", extend="old").step == 6
    with pytest.raises(BadInput, match="more than the 4"):
        train(load_config("old/config.yaml"), "again", extend="old")
