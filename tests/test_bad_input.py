"""Input that nobody should give: each is refused in one line with exit code 2, at once, and nothing is written."""

from __future__ import annotations

import json
import os
import socket
import tempfile
import time
from pathlib import Path

import pytest
from support import Lot, refused, sets

SMALL = ["--attn", "vanilla", "--task", "copy_reverse", *sets()]
RUN = ["run", *SMALL]
LONG = "x" * 300
posix = pytest.mark.skipif(os.name != "posix", reason="pipes and devices as POSIX has them")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([*RUN, "--loss", "sync", "--attn", "lattice", "--set", "losses.sync.schedule=linear"], ["expected table"]),
        ([*RUN, "--set", "losses.cross_entropy.weight=0"], ["losses", "cross_entropy with weight 0"]),
        ([*RUN, "--set", "losses=3"], ["losses", "expected a table", "3"]),
        ([*RUN, "--set", "diagnostics.order_parameter=[1]"], ["diagnostics.order_parameter", "table"]),
        ([*RUN, "--device", "meta"], ["--device", "'meta'"]),
        ([*RUN, "--lr", "3"], ["--lr", "--set optim.lr=VALUE"]),
        ([*RUN, "--set", "train.batch_size=16777216", "--set", "task.seq_len=1024"], ["train.batch_size", "memory"]),
        ([*RUN, "--set", "task.vocab_size=2"], ["task.", "vocab_size"]),
        ([*RUN, "--set", "task.seq_len=7"], ["task.seq_len"]),
        (["run", "--attn", "vanilla", "--task", "mqar", "--set", "task.pairs=1000"], ["task."]),
        (
            [*RUN, "--run-dir", LONG],
            ["the directory of the run: expected a name of at most", f"{len(LONG)}: {LONG[:9]}"],
        ),
        ([*RUN, "--name", LONG], ["the directory of the run: expected a name of at most", f"{len(LONG)}: {LONG[:9]}"]),
        (["run", "--resume", "--run-dir", LONG], [LONG, "cannot be"]),
        (["run", "--config", LONG], [LONG, "cannot be read"]),
        (["run", "--attn", "vanilla", "--task", "char_lm", "--set", f"task.path={LONG}"], ["task.path", LONG]),
        (["run", "--attn", "vanilla", "--task", "char_lm", "--set", 'task.path="a\\0b"'], ["task.path"]),
        (["run", "--attn", "vanilla", "--task", "char_lm", "--set", 'task.path="a\\ud800b"'], ["task.path"]),
        (["run", "--attn", "vanilla", "--task", "text_lm", "--set", f"task.tokenizer={LONG}"], ["task.tokenizer"]),
        (["run", "--attn", "vanilla", "--task", "text_lm", "--set", 'task.tokenizer="a\\0b"'], ["task.tokenizer"]),
        ([*RUN, "--run-dir", "a\udcffb"], ["UTF-8", "a\\udcffb"]),
        (["eval", "a\udcffb"], ["UTF-8"]),
        (["eval", LONG], [LONG, "cannot be"]),
        (["plot", LONG], [LONG, "cannot be"]),
        (["generate", LONG], [LONG, "cannot be"]),
        (["export", LONG, "x.pt2"], [LONG, "cannot be"]),
        (["export", ".", f"{LONG}.pt2"], [LONG, "cannot be"]),
        (["ablate", LONG], [LONG, "cannot be"]),
        (["runs", LONG], [LONG, "cannot be"]),
        (["study", LONG], [LONG, "cannot be"]),
        (["bench", LONG], [LONG]),
        (["show", LONG], [LONG]),
        (["schema", LONG], [LONG]),
        (["plugins", "new", LONG], [LONG]),
        (["plugins", "check", LONG], [LONG]),
    ],
)
def test_bad_input(lot: Lot, tmp_path: Path, arguments: list[str], words: list[str]) -> None:
    refused(lot(*arguments), *words)
    assert list(tmp_path.iterdir()) == [], "something was written"


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"WORLD_SIZE": ""}, ["WORLD_SIZE", "a number", "''"]),
        ({"WORLD_SIZE": "two"}, ["WORLD_SIZE", "'two'"]),
        ({"WORLD_SIZE": "0"}, ["WORLD_SIZE", "1 or more"]),
        ({"WORLD_SIZE": "2"}, ["RANK", "torchrun"]),
        ({"WORLD_SIZE": "2", "RANK": "2"}, ["RANK", "below WORLD_SIZE=2"]),
        ({"WORLD_SIZE": "2", "RANK": "0"}, ["MASTER_PORT", "torchrun"]),
        ({"WORLD_SIZE": "2", "RANK": "0", "MASTER_PORT": "29500"}, ["MASTER_ADDR", "torchrun"]),
        (
            {"WORLD_SIZE": "2", "RANK": "0", "MASTER_PORT": "29500", "MASTER_ADDR": "h", "LOCAL_RANK": "x"},
            ["LOCAL_RANK"],
        ),
    ],
)
def test_an_environment_of_processes_that_is_none(
    lot: Lot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], words: list[str]
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    refused(lot(*RUN), *words)
    assert list(tmp_path.iterdir()) == []


def test_a_port_that_is_taken(lot: Lot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        for name, value in {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}.items():
            monkeypatch.setenv(name, value)
        refused(lot(*RUN), f"the processes cannot meet at 127.0.0.1:{port}", "--master-port")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * 120_000 + "]" * 120_000, ["nested too deeply"]),
        ("{a: " * 40_000 + "}" * 40_000, ["nested too deeply"]),
        ("- " * 100_000 + "1", ["nested too deeply"]),
        ("train: {steps: 3}\ntrain: {steps: 4}\n", ["line 2", 'duplicate key "train"']),
    ],
)
def test_yaml_that_is_none(lot: Lot, tmp_path: Path, text: str, words: list[str]) -> None:
    (tmp_path / "x.yaml").write_text(text)
    for command in ("run --config", "study"):
        began = time.process_time()
        refused(lot(*command.split(), "x.yaml"), "x.yaml", *words)
        assert time.process_time() - began < 20, "it took a minute once"


def test_a_study_file_with_a_list_where_tables_belong(lot: Lot, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("base: {task: {name: copy_reverse}}\narms: {a: {}, b: {}}\nclaims: [x]\n")
    refused(lot("study", "x.yaml"), "claims.0", "expected a table", "'x'")


@posix
def test_what_has_no_end_is_no_file(lot: Lot, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    refused(lot("run", "--config", "pipe"), "pipe: expected a file, got a pipe")
    refused(lot("study", "pipe"), "pipe: expected a file, got a pipe")
    refused(lot("run", "--config", "/dev/zero"), "/dev/zero", "at most 256 KiB")
    for path in ("pipe", "/dev/zero"):
        refused(lot("run", "--attn", "vanilla", "--task", "char_lm", "--set", f"task.path={path}"), "task.path", path)
        refused(
            lot("run", "--attn", "vanilla", "--task", "text_lm", "--set", f"task.tokenizer={path}"), "task.tokenizer"
        )
    refused(lot("bench", "pipe"), "pipe")


@posix
def test_a_configuration_that_the_shell_hands_over(lot: Lot, tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"seed: 7\ntask: {name: copy_reverse}\n")
    os.close(writing)
    assert "seed: 7" in lot("run", "--config", f"/dev/fd/{reading}", "--print-config").stdout
    os.close(reading)


def test_a_folder_with_other_files(lot: Lot, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("mine")
    refused(lot(*RUN, "--run-dir", "mine"), "mine: holds other files, and no run", "--run-dir")
    refused(lot(*RUN, "--run-dir", "mine", "--resume"), "mine: no run there")
    assert [path.name for path in tmp_path.rglob("*")] == ["mine", "file"]


def test_a_run_whose_name_looks_like_a_formula_is_drawn(lot: Lot, tmp_path: Path) -> None:
    assert lot(*RUN, "--name", "a$x_{$b").returncode == 0
    done = lot("plot", "runs/a$x_{$b")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs/a$x_{$b/version_0/plots/curves.png").exists()


def test_a_share_too_small_for_a_float_takes_the_likeliest(lot: Lot, tmp_path: Path) -> None:
    assert lot(*RUN, "--run-dir", "x").returncode == 0
    drawn = [
        json.loads(lot("generate", "x", "--json", *options).stdout)["samples"][0]["ids"]
        for options in (["--temperature", "1", "--top-p", "1e-320"], ["--temperature", "0"])
    ]
    assert drawn[0] == drawn[1]


@posix
def test_an_account_without_a_home_directory(lot: Lot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lot.storage.cache import cache_folder

    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("LOT_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("LOT_KERNELS", "off")  # a process loads each library from one place only
    assert cache_folder() == tmp_path / f"lot-{os.getuid()}"
    assert lot(*RUN, "--attn", "lattice", "--run-dir", "x").returncode == 0


def test_words_that_help_says(lot: Lot) -> None:
    assert "hidden (given by decoder, gpt2, hf, llama)" in lot("show", "wave_coherence").stdout
    assert "5 is the least" not in lot("compare", "--help").stdout
