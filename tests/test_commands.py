"""`lot run`, `lot eval` and `lot plot` together, from the outside: what one records the others read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import matplotlib.image
import pytest
from support import Lot, sets

RUN = ["run", "--task", "copy_reverse", *sets(), "--run-dir", "r"]
WATCH = ["--set", "diagnostics.phase_snapshots.every=6", "--set", "diagnostics.grad_norm.every=12"]
LEAKING = ["--attn", "vanilla", "--set", "attn.causal=false", "--set", "allow_leak=true"]


def test_run_and_eval_give_the_same_metrics(lot: Lot) -> None:
    ran = lot(*RUN, "--attn", "lattice", "--json")
    assert ran.returncode == 0, ran.stderr
    document = json.loads(ran.stdout)
    assert document["step"] == 24
    evaluated = json.loads(lot("eval", "r", "--json").stdout)
    assert evaluated["metrics"] == document["metrics"] == json.loads(Path("r/metrics.json").read_text())["metrics"]
    assert evaluated["step"] == document["best_step"]
    validation = json.loads(lot("eval", "r", "--split", "validation", "--json").stdout)["metrics"]
    rows = [json.loads(line) for line in Path("r/metrics.jsonl").read_text().splitlines()]
    (best,) = (row for row in rows if row.get("split") == "validation" and row["step"] == document["best_step"])
    assert validation == {name: best[name] for name in validation}


def test_a_recorded_configuration_replays_the_run(lot: Lot) -> None:
    lot(*RUN, "--attn", "lattice", "--loss", "sync")
    printed = lot("run", "--config", "r/config.yaml", "--print-config").stdout
    assert printed == Path("r/config.yaml").read_text()
    again = lot("run", "--config", "r/config.yaml", "--run-dir", "again")
    assert again.returncode == 0, again.stderr
    assert Path("again/metrics.jsonl").read_text() == Path("r/metrics.jsonl").read_text()


def test_plot_draws_all_that_was_recorded(lot: Lot) -> None:
    lot(*RUN, "--attn", "lattice", *WATCH)
    done = lot("plot", "r", "--animate")
    assert done.returncode == 0, done.stderr
    names = ["curves", "grad_norm", "order_parameter", "phase_snapshots"]
    for name in names:
        picture = matplotlib.image.imread(f"r/plots/{name}.png")
        assert min(picture.shape[:2]) > 200
        assert picture.std() > 0.01, f"{name} is blank"
        assert f"{name}: " in done.stdout
    assert Path("r/plots/phase_snapshots.gif").read_bytes()[:3] == b"GIF"
    assert lot("plot", "r", "phase_snapshots", "--animate", "--movie", "mp4").returncode == (
        0 if shutil.which("ffmpeg") else 2
    )
    one = lot("plot", "r", "curves", "--format", "svg", "--out", "elsewhere")
    assert one.returncode == 0
    assert [path.name for path in Path("elsewhere").iterdir()] == ["curves.svg"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["plot", "absent"], ["absent", "no run there"]),
        (["plot", "r", "shift_error"], ["recorded no 'shift_error'", "order_parameter"]),
        (["eval", "absent"], ["absent", "no run there"]),
        (["eval", "r", "--split", "all"], ["--split", "test"]),
    ],
)
def test_what_is_not_there_is_refused(lot: Lot, arguments: list[str], words: list[str]) -> None:
    lot(*RUN, "--attn", "lattice", "--set", "train.steps=2")
    done = lot(*arguments)
    assert done.returncode == 2
    assert all(word in done.stderr for word in words), done.stderr


def test_a_leak_is_marked_wherever_its_run_is_shown(lot: Lot) -> None:
    ran = lot(*RUN, *LEAKING, "--json")
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr.count("LEAK") == 2  # before training, and beside the metrics
    assert json.loads(ran.stdout)["leak"] is True
    assert "LEAK" in lot(*RUN, *LEAKING, "--resume").stdout
    assert "LEAK" in lot("eval", "r").stdout
    assert json.loads(lot("eval", "r", "--json").stdout)["leak"] is True
    assert "LEAK" in lot("generate", "r").stderr
    assert lot("plot", "r", "--format", "svg").returncode == 0
    assert "LEAK" in Path("r/plots/curves.svg").read_text()


def test_the_form_of_the_kernels_is_recorded_and_a_change_of_it_is_said(
    lot: Lot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOT_KERNELS", "off")
    assert lot(*RUN, "--attn", "lattice").returncode == 0
    assert json.loads(Path("r/run.json").read_text())["fingerprint"]["kernels"] == {"lattice": "PyTorch"}
    Path("r/metrics.json").unlink()  # as if it had been killed at the very end
    monkeypatch.setenv("LOT_KERNELS", "auto")
    resumed = lot("run", "--resume", "--run-dir", "r")
    assert resumed.returncode == 0, resumed.stderr
    assert "kernels was {'lattice': 'PyTorch'}, is {'lattice': '" in resumed.stderr
    assert lot(*RUN[:-1], "v", "--attn", "vanilla").returncode == 0
    assert json.loads(Path("v/run.json").read_text())["fingerprint"]["kernels"] == {}


GARBAGE = bytes(range(255, 0, -1)) + b"\n{}\n"


@pytest.mark.parametrize(
    ("file", "command", "code", "words"),
    [
        ("config.yaml", ["eval", "r"], 2, ["r/config.yaml", "UTF-8"]),
        ("config.yaml", ["plot", "r"], 2, ["r/config.yaml", "UTF-8"]),
        ("run.json", ["plot", "r"], 2, ["r/run.json: damaged"]),
        ("run.json", ["runs", "r"], 0, ["damaged", "r/run.json"]),
        ("metrics.json", ["runs", "r"], 0, ["damaged", "r/metrics.json", "remove it"]),
        ("metrics.json", ["run", "--resume", "--run-dir", "r"], 2, ["r/metrics.json: damaged", "remove it"]),
        ("metrics.jsonl", ["plot", "r"], 2, ["r/metrics.jsonl: damaged (its checksum is not that in metrics.json)"]),
        ("status.json", ["runs", "r"], 0, ["complete", "exact_match"]),
        (
            "snapshots/order_parameter/step_00000000.safetensors",
            ["plot", "r"],
            2,
            ["step_00000000.safetensors: damaged"],
        ),
        (
            "checkpoints/step_00000024/model.safetensors",
            ["eval", "r"],
            0,
            ["step_00000024", "is damaged", "step_00000018"],
        ),
        ("checkpoints/step_00000024/MANIFEST.json", ["generate", "r"], 0, ["step_00000024", "is damaged"]),
    ],
)
def test_a_damaged_file_is_named_or_does_not_matter(
    lot: Lot, file: str, command: list[str], code: int, words: list[str]
) -> None:
    assert lot(*RUN, "--attn", "lattice").returncode == 0
    Path("r", file).write_bytes(GARBAGE)
    done = lot(*command)
    said = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == code, said
    assert all(word in said for word in words), said


def test_an_edited_configuration_is_told(lot: Lot) -> None:
    assert lot(*RUN, "--attn", "lattice").returncode == 0
    assert "is not what" not in lot("eval", "r").stderr
    config = Path("r/config.yaml")
    config.write_text(config.read_text().replace("batch_size: 4", "batch_size: 8"))
    assert "r/config.yaml is not what step_000000" in lot("eval", "r").stderr
    assert "train.batch_size is 8, was 4" in lot("eval", "r").stderr


def test_an_edited_text_is_told(lot: Lot) -> None:
    """To whoever evaluates the run or goes on with it: the vocabulary may still be the same."""
    text = Path("text.txt")
    text.write_text("abcdefgh " * 2000)
    sizes = ["task.path=text.txt", "task.seq_len=8", "train.save_every=2", "train.steps=4", "model.width=16"]
    run = ["run", "--task", "char_lm", *(word for size in sizes for word in ("--set", size)), "--run-dir", "r"]
    assert lot(*run).returncode == 0
    assert "no longer those" not in lot("eval", "r").stderr
    text.write_text("hgfedcba " * 2000)
    assert "the files that the task char_lm reads are no longer those of the training" in lot("eval", "r").stderr
    Path("r/metrics.json").unlink()
    assert "resuming on other numerics or data, so bits may differ: data was '" in lot(*run, "--resume").stderr


def test_paths_are_shown_as_they_are(lot: Lot) -> None:
    done = lot(*RUN[:-1], "a [b] :x: é", "--set", "train.steps=2")
    assert done.returncode == 0, done.stderr
    assert "recorded in a [b] :x: é" in done.stderr
    assert "lot plot 'a [b] :x: é'" in done.stderr
    assert lot("eval", "a [b] :x: é").stdout.startswith("test split, step 2, a [b] :x: é")


def test_runs_lists_every_run_and_how_to_go_on(lot: Lot) -> None:
    assert lot(*RUN[:-1], "a/done", "--attn", "lattice").returncode == 0
    assert lot(*RUN[:-1], "a/failed", "--attn", "vanilla", "--set", "optim.lr=1e30").returncode == 3
    assert lot(*RUN[:-1], "a/killed", *LEAKING).returncode == 0
    status = json.loads(Path("a/killed/status.json").read_text())
    Path("a/killed/status.json").write_text(json.dumps({**status, "state": "running", "step": 16}))
    Path("a/killed/metrics.json").unlink()
    listed = json.loads(lot("runs", "a", "--json").stdout)["runs"]
    assert [(run["run"], run["state"], run["leak"]) for run in listed] == [
        ("a/done", "complete", False),
        ("a/failed", "failed", False),
        ("a/killed", "killed", True),
    ]
    assert listed[0]["metrics"] == json.loads(Path("a/done/metrics.json").read_text())["metrics"]
    assert (listed[0]["split"], listed[2]["split"]) == ("test", "validation")
    done = lot("runs", "a")
    assert "continue with: lot run --resume --run-dir a/killed" in done.stdout
    assert "not finite" in done.stdout
    assert done.stdout.count("LEAK") == 1
    refused = lot("runs", "nowhere")
    assert (refused.returncode, "nowhere: no such folder" in refused.stderr) == (2, True)
