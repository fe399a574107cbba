"""`lot run`: what it reads, what it says, and what it refuses, through the command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

SMALL = ["--set", "task.seq_len=8", "--set", "model.width=16", "--set", "model.heads=2", "--set", "model.layers=1"]
TEXT = ["run", "--task", "char_lm", *SMALL, "--set", "train.steps=2", "--run-dir", "r"]
COPY = ["run", "--task", "copy_reverse", *SMALL, "--set", "task.vocab_size=12", "--run-dir", "r"]


def test_the_header_names_the_text_that_is_read(lot: Callable) -> None:
    Path("own.txt").write_text("a text of my own\n" * 200)
    done = lot(*TEXT, "--set", "task.path=own.txt")
    assert done.code == 0, done.err
    assert "char_lm  (path own.txt, format text, seq_len 8, windows shifted)" in done.err
    assert "pydoc" not in done.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["--set", "task.path=a.jsonl"],
            "a.jsonl is JSON Lines: expected plain text; read it with lot run --task text_stream",
        ),
        (
            ["--set", "task.path=own.txt", "--set", "task.corpus=wikitext2"],
            "task.corpus: expected none where path is given",
        ),
        (["--set", "task.path="], "--set task.path: empty value; write null for none"),
        (["--set", "train.clip="], "--set train.clip: empty value; write null for none"),
    ],
)
def test_a_text_that_is_not_meant_is_refused_in_one_line(lot: Callable, arguments: list[str], said: str) -> None:
    Path("a.jsonl").write_text('{"text": "hello"}\n' * 200)
    done = lot(*TEXT, *arguments)
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert len(done.err.splitlines()) == 1
    assert not Path("r").exists()


def test_compare_refuses_an_empty_value_too(lot: Callable) -> None:
    done = lot("compare", "--attn", "vanilla,vanilla", "--task", "char_lm", "--set", "train.clip=")
    assert (done.code, done.err) == (2, "error: --set train.clip: empty value; write null for none\n")


def test_a_warmup_longer_than_the_run_says_what_learning_rate_is_reached(lot: Callable) -> None:
    done = lot(*COPY, "--set", "train.steps=2", "--set", "train.warmup=8")
    assert done.code == 0, done.err
    assert (
        "warning: the warmup of 8 steps is longer than the run of 2: the learning rate reaches 25% of its peak; "
        "lower train.warmup, or set it to null\n"
    ) in done.err


def test_a_short_run_reaches_its_learning_rate_without_a_word(lot: Callable) -> None:
    done = lot(*COPY, "--set", "train.steps=16", "--set", "train.log_every=1")
    assert done.code == 0, done.err
    assert "warmup" not in done.err
    assert "warmup: 2" in Path("r/config.yaml").read_text()
    rates = [line.partition('"lr": ')[2].partition(",")[0] for line in Path("r/metrics.jsonl").read_text().splitlines()]
    assert max(float(rate) for rate in rates if rate) == 1e-3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--lr", "3e-4"], "no option --lr; set it as in --set optim.lr=VALUE"),
        (["--batch-size", "8"], "no option --batch-size; set it as in --set train.batch_size=VALUE"),
        (["--width=8"], "no option --width; set it as in --set model.width=VALUE"),
        (["--vocab-size", "8"], "no option --vocab-size; set it as in --set task.vocab_size=VALUE"),
        (["--allow-leak"], "no option --allow-leak; set it as in --set allow_leak=VALUE"),
        (["--name", "x"], "--name and --run-dir both say where the run goes; give one of them"),
        (["--print-config", "--json"], "--json prints metrics, and --print-config trains nothing; give one of them"),
    ],
)
def test_flags_that_do_nothing_are_refused(lot: Callable, arguments: list[str], said: str) -> None:
    done = lot(*COPY, *arguments)
    assert (done.code, done.out, done.err) == (2, "", f"error: {said}\n       see lot run --help\n")
    assert not Path("r").exists()


def test_a_misspelled_flag_is_answered_with_the_nearest(lot: Callable) -> None:
    done = lot(*COPY, "--atn", "lattice")
    assert done.code == 2
    assert done.err.startswith("error: No such option '--atn'.")
    assert "'--attn'" in done.err


def test_set_comes_after_every_flag_that_of_the_seed_too(lot: Callable) -> None:
    assert lot(*COPY, "--seed", "1", "--print-config").out.startswith("seed: 1\n")
    assert lot(*COPY, "--seed", "1", "--set", "seed=2", "--print-config").out.startswith("seed: 2\n")


def below(folder: Path, size: int) -> Path:
    """A path below `folder` of so many bytes."""
    path = folder
    while (room := size - len(os.fsencode(path)) - 1) > 0:
        path /= "d" * (room if room <= 200 else min(200, room - 2))
    assert len(os.fsencode(path)) == size
    return path


@pytest.mark.skipif(not hasattr(os, "pathconf"), reason="the system does not say how long a path may be")
def test_a_run_fits_into_the_longest_directory_that_is_not_refused(lot: Callable, tmp_path: Path) -> None:
    from lot.runs.choose import BELOW

    longest = os.pathconf(tmp_path, "PC_PATH_MAX") - BELOW - 1
    run = [*COPY[:-2], "--diagnostic", "loss_by_position", "--set", "train.steps=2"]
    done = lot(*run, "--run-dir", str(below(tmp_path / "a", longest + 1)))
    assert (done.code, len(done.err.splitlines())) == (2, 1)
    assert (
        f"error: the directory of the run: expected a path of at most {longest} bytes, got {longest + 1}:" in done.err
    )
    assert not (tmp_path / "a").exists()
    fits = below(tmp_path / "b", longest)
    done = lot(*run, "--run-dir", str(fits))
    assert done.code == 0, done.err
    assert json.loads((fits / "status.json").read_text())["state"] == "complete"
    assert lot("eval", str(fits), "--checkpoint", "last").code == 0


@pytest.mark.parametrize(
    ("option", "letter"), [("--run-dir", "n"), ("--run-dir", "é"), ("--name", "n"), ("--name", "é")]
)
@pytest.mark.skipif(not hasattr(os, "pathconf"), reason="the system does not say how long a name may be")
def test_a_name_that_the_file_system_does_not_take_is_refused(
    lot: Callable, tmp_path: Path, option: str, letter: str
) -> None:
    longest = os.pathconf(tmp_path, "PC_NAME_MAX")
    name = letter * (longest // len(letter.encode()) + 1)
    done = lot(*COPY[:-2], "--set", "train.steps=2", option, name)
    size = len(name.encode())
    assert (done.code, len(done.err.splitlines())) == (2, 1)
    assert (
        f"error: the directory of the run: expected a name of at most {longest} bytes, got {size}: {letter}" in done.err
    )
    assert not list(Path().iterdir())


def test_options_beside_resume_are_compared_with_the_recorded_run(lot: Callable) -> None:
    assert lot(*COPY, "--set", "train.steps=2").code == 0
    resume = ["run", "--resume", "--run-dir", "r"]
    other = lot(*resume, "--set", "train.steps=4")
    assert other.code == 2
    assert other.err.startswith("error: r was started with another configuration: train.steps is 4, was 2; ")
    same = lot(*resume, "--set", "train.steps=2")
    assert (same.code, "r is complete already" in same.err) == (0, True)
    assert lot(*resume, "--print-config").out == Path("r/config.yaml").read_text()
    absent = lot("run", "--resume", "--run-dir", "absent", "--seed", "1")
    assert (absent.code, "absent: no run there" in absent.err) == (2, True)


def test_a_run_whose_reader_leaves_goes_on_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    reader, writer = os.pipe()
    command = [sys.executable, "-m", "lot_cli", *COPY, "--set", "train.steps=20", "--set", "train.log_every=1"]
    with subprocess.Popen(command, stdout=writer, stderr=writer) as run:
        os.close(writer)
        assert os.read(reader, 8) == b"starting"
        os.close(reader)
        assert run.wait(timeout=120) == 0
    assert json.loads(Path("r/status.json").read_text())["state"] == "complete"
    assert not list(Path().glob(".lot-crash*"))
