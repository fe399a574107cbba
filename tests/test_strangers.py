"""A run or a study from a stranger: nothing outside of it is touched, nothing in it is obeyed, and asking disturbs nobody."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support import TINY, Lot, refused, sets

RUN = ["run", "--attn", "lattice", "--task", "copy_reverse", *sets()]
posix = pytest.mark.skipif(os.name != "posix", reason="links, pipes and modes as POSIX has them")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small complete run with snapshots and pictures, made once."""
    from lot_cli.main import main

    folder = tmp_path_factory.mktemp("made")
    assert main([*RUN, "--run-dir", str(folder / "run")]) == 0
    assert main(["plot", str(folder / "run")]) == 0
    return folder / "run"


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    """A copy of it in the working directory."""
    shutil.copytree(made, tmp_path / "x", symlinks=True)
    return Path("x")


COMMANDS = {
    "run --resume": ["run", "--resume", "--run-dir", "x"],
    "run": [*RUN, "--run-dir", "x"],
    "plot": ["plot", "x"],
    "eval": ["eval", "x"],
    "generate": ["generate", "x"],
    "export": ["export", "x", "out.safetensors"],
    "ablate": ["ablate", "x"],
}
PLACES = [
    "metrics.jsonl",
    "timing.jsonl",
    "metrics.json",
    "status.json",
    "run.json",
    "config.yaml",
    ".lock",
    ".running",
    "plots/curves.png",
    "plots",
    "snapshots/order_parameter",
    "checkpoints",
    "best",
    "events.out.tfevents.planted",
]


@posix
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("place", PLACES)
def test_no_link_of_a_run_directory_is_followed_out_of_it(
    lot: Lot, run: Path, tmp_path: Path, command: str, place: str
) -> None:
    outside = tmp_path / "outside"
    target = tmp_path / "x" / place
    if target.exists():
        target.resolve().rename(outside)
        target.unlink(missing_ok=True)
    else:
        outside.write_text("mine")
    target.symlink_to(outside)
    before = {p: p.read_bytes() for p in [outside, *outside.rglob("*")] if p.is_file()}
    refused(lot(*COMMANDS[command]), f" is a link to {outside}", "out of the directory")
    assert {p: p.read_bytes() for p in [outside, *outside.rglob("*")] if p.is_file()} == before
    listed = json.loads(lot("runs", ".", "--json").stdout)["runs"]
    assert [(found["run"], found["state"]) for found in listed] in ([("x", "damaged")], [])


@posix
def test_a_version_of_a_name_is_no_link_either(lot: Lot, run: Path, tmp_path: Path) -> None:
    (tmp_path / "name").mkdir()
    (tmp_path / "name" / "version_3").symlink_to(tmp_path / "x")
    refused(lot("plot", "name"), "version_3 is a link to")


@posix
def test_what_is_no_file_is_refused_and_not_waited_for(lot: Lot, run: Path, tmp_path: Path) -> None:
    (tmp_path / "x/metrics.jsonl").unlink()
    os.mkfifo(tmp_path / "x/metrics.jsonl")
    for command in ("run --resume", "plot", "eval"):
        refused(lot(*COMMANDS[command]), "x/metrics.jsonl is a pipe")


@posix
def test_a_link_that_the_user_names_and_links_inside_are_fine(lot: Lot, run: Path, tmp_path: Path) -> None:
    (tmp_path / "shortcut").symlink_to(tmp_path / "x")
    assert lot("eval", "shortcut").returncode == 0


HOSTILE = "\x1b[2J\x1b]0;owned\x07\x9b31m\u202e"


def printed(done: subprocess.CompletedProcess[str]) -> str:
    """What a command printed, in which no control character may be left but those of a style."""
    said = done.stdout + done.stderr
    assert re.sub("\x1b\\[[0-9;]*m", "", said).translate({10: None, 9: None}).isprintable(), repr(said)
    return said


def test_control_characters_are_shown_and_not_obeyed(lot: Lot, run: Path, tmp_path: Path) -> None:
    config = tmp_path / "x/config.yaml"
    (tmp_path / "hostile.yaml").write_text(json.dumps({f"key{HOSTILE}": 1}))
    assert "\\x1b[2J" in printed(lot("run", "--config", "hostile.yaml"))
    assert "\\x1b[2J" in printed(lot("run", "--task", "copy_reverse", "--attn", f"lattice{HOSTILE}"))
    status = json.loads((tmp_path / "x/status.json").read_text())
    (tmp_path / "x/status.json").write_text(json.dumps({**status, "message": HOSTILE}))
    assert "\\x1b[2J" in printed(lot("runs", "."))
    metrics = json.loads((tmp_path / "x/metrics.json").read_text())
    metrics["metrics"][HOSTILE] = 1.0
    (tmp_path / "x/metrics.json").write_text(json.dumps(metrics))
    assert "\\x1b[2J" in printed(lot(*COMMANDS["run --resume"]))
    config.write_text(config.read_text() + f"{json.dumps(HOSTILE)}: 1\n")
    assert "\\x1b[2J" in printed(lot("eval", "x"))


def test_control_characters_of_a_corpus_are_shown(lot: Lot, tmp_path: Path) -> None:
    (tmp_path / "hostile.txt").write_text(HOSTILE * 200)
    small = {"task": {"path": "hostile.txt", "seq_len": 8}, "model": TINY["model"], "train": TINY["train"]}
    done = lot("run", "--attn", "vanilla", "--task", "char_lm", *sets(small), "--run-dir", "t")
    assert done.returncode == 0, done.stderr
    assert "\\x1b[2J" in printed(lot("generate", "t"))
    printed(lot("generate", "t", "--samples", "2", "--prompt", HOSTILE[:3]))


@posix
@pytest.mark.parametrize(("umask", "forbidden", "wanted"), [(0o077, 0o077, 0), (0o002, 0o002, 0o020)])
def test_the_umask_is_respected(lot: Lot, tmp_path: Path, umask: int, forbidden: int, wanted: int) -> None:
    before = os.umask(umask)
    try:
        assert lot(*RUN, "--run-dir", "x").returncode == 0
        assert lot("plot", "x").returncode == 0
        assert lot("export", "x", "x/out.safetensors").returncode == 0
    finally:
        os.umask(before)
    for path in (tmp_path / "x").rglob("*"):
        if not path.is_symlink():
            mode = path.stat().st_mode
            assert mode & forbidden == 0, path
            assert mode & wanted == wanted or path.name == ".lock", path


@posix
def test_a_query_of_the_state_keeps_no_run_from_starting(tmp_path: Path) -> None:
    """Another process asks for the state without a pause, while this one takes and lets go of the run."""
    from lot.runs.directory import RunDir

    (tmp_path / "config.yaml").write_text("task: {name: copy_reverse}\n")
    poll = (
        "import sys; from pathlib import Path; from lot.runs.directory import RunDir\n"
        "run = RunDir(Path(sys.argv[1])); print('ready', flush=True); seen = set()\n"
        "while not (Path(sys.argv[1]) / 'stop').exists(): seen.add(run.state())\n"
        "print(*sorted(seen))"
    )
    poller = subprocess.Popen([sys.executable, "-c", poll, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert poller.stdout is not None
    assert poller.stdout.readline() == "ready\n"
    for _ in range(2000):
        run = RunDir(tmp_path)
        run.acquire()  # would raise where the poller has the lock
        run.release()
    (tmp_path / "stop").touch()
    assert poller.communicate(timeout=30)[0].split() == ["killed", "running"], "it saw both"
