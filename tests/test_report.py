"""`lot report`: one page of a run, whatever became of the run and wherever its folder comes from."""

from __future__ import annotations

import base64
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from support import TINY, Lot, refused, sets

RUN = ["run", "--attn", "lattice", "--task", "copy_reverse", *sets()]
DRAWN = ["--set", "diagnostics.grad_norm.every=12"]
posix = pytest.mark.skipif(os.name != "posix", reason="links and pipes as POSIX has them")


class Page(HTMLParser):
    """A page that is taken apart: its elements, which must nest, its attributes, its text."""

    VOID = frozenset({"meta", "img", "br", "circle", "line", "path", "rect"})

    def __init__(self, file: Path | str) -> None:
        super().__init__()
        self.source = Path(file).read_text(encoding="utf-8")
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self.feed(self.source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, key, value or "") for key, value in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, key, value or "") for key, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.text += data

    def pictures(self) -> dict[str, bytes]:
        """What is drawn under each alternative text."""
        sources = [value.partition("base64,") for tag, key, value in self.attributes if (tag, key) == ("img", "src")]
        names = [value for tag, key, value in self.attributes if (tag, key) == ("img", "alt")]
        return {name: base64.b64decode(code) for name, (_, _, code) in zip(names, sources, strict=True)}

    def curves(self) -> list[str]:
        """What the figures of curves show."""
        return [value for tag, key, value in self.attributes if (tag, key) == ("svg", "aria-label")]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small complete run with diagnostics, made once."""
    from lot_cli.main import main

    folder = tmp_path_factory.mktemp("made") / "run"
    assert main([*RUN, *DRAWN, "--run-dir", str(folder)]) == 0
    return folder


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    """A copy of it, `x` in the working directory."""
    shutil.copytree(made, tmp_path / "x", symlinks=True)
    return tmp_path / "x"


def reported(lot: Lot, *arguments: str) -> Page:
    """The page that `lot report x` writes."""
    done = lot("report", "x", *arguments)
    assert done.returncode == 0, done.stderr
    (path,) = re.findall(r"^report: (.*)$", done.stdout, flags=re.MULTILINE)
    return Page(path)


def change(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def test_the_page_holds_what_the_run_recorded(lot: Lot, tmp_path: Path) -> None:
    run = tmp_path / "x"
    more = [word for name in ("attention_map", "phase_snapshots") for word in ("--set", f"diagnostics.{name}.every=24")]
    assert lot(*RUN, *DRAWN, *more, "--run-dir", "x").returncode == 0
    change(run / "run.json", command=["/usr/bin/lot", *RUN])
    page = reported(lot)
    metrics = json.loads((run / "metrics.json").read_text())["metrics"]
    for name, value in metrics.items():
        assert f"{value:.4g}{name.replace('_', ' ')}, test" in page.text
    for said in (
        "The run is complete. step 24 of 24",
        "lattice on copy_reverse, 2 layers, 4 heads, width 16",
        "Measured on the test split, which nothing had read before",
        "A probe of the trained model found no leak",
        "lossescross_entropy",
        "diagnosticsorder_parameter, grad_norm, attention_map, phase_snapshots",
        "heads = 4, dropout = 0.1",  # the width of 16 is no default either; layers = 2 is
        "As it was startedlot run --attn lattice --task copy_reverse",
        "lot run --config x/config.yaml --name again",
        "tokens per second (median)",
        "bits depend on",
        json.loads((run / "run.json").read_text())["environment"]["torch"],
    ):
        assert said in page.text
    assert page.curves()[:2] == ["loss over training steps", "shares on validation over training steps"]
    drawn = page.pictures()
    assert list(drawn) == [
        "attention_map",
        "grad_norm",
        "order_parameter",
        "phase_snapshots",
        "phase_snapshots, animated",
    ]
    assert all(picture.startswith(b"\x89PNG") for name, picture in drawn.items() if "animated" not in name)
    assert drawn["phase_snapshots, animated"].startswith(b"GIF89a")
    assert "strongest on another token: layer" in page.text


def test_the_page_needs_nothing_else(lot: Lot, run: Path) -> None:
    page = reported(lot)
    assert not {"script", "link", "iframe", "object", "form"} & set(page.tags)
    assert not re.search(r"url\(|@import|javascript:", page.source)
    assert all(value.startswith("data:image/") for _, key, value in page.attributes if key in ("src", "href"))
    assert not [key for _, key, _ in page.attributes if key.startswith("on")]
    for rule in (
        "prefers-color-scheme: dark",
        "@media print",
        "details-content",
        "max-width: 44rem",
        "prefers-reduced-motion",
    ):
        assert rule in page.source


def test_the_page_goes_where_it_is_wanted(lot: Lot, run: Path, tmp_path: Path) -> None:
    reported(lot, "--out", "here.html")
    assert not (run / "report.html").exists()
    assert (tmp_path / "here.html").exists()
    refused(lot("report", "x", "--out", "gone/here.html"), "gone/here.html: cannot be written", "--out")
    refused(lot("report", "gone"), "gone: no run there")
    (tmp_path / "s").mkdir()
    (tmp_path / "s/study.json").write_text("{}")
    refused(lot("report", "s"), "s is the folder of a study", "--report-only")


@pytest.mark.parametrize("name", ["config.yaml", "checkpoints", "", "."])
def test_a_page_replaces_nothing_but_pages(lot: Lot, run: Path, name: str) -> None:
    before = (run / "config.yaml").read_bytes()
    done = lot("report", str(run), "--out", str(run / name) if name not in ("", ".") else name)
    assert (done.returncode, done.stderr.count("expected a file whose name ends in .html")) == (2, 1)
    assert (run / "config.yaml").read_bytes() == before


def test_what_was_asked_later_is_in_the_page(lot: Lot, run: Path) -> None:
    assert lot("eval", "x", "--split", "validation").returncode == 0
    assert lot("diagnose", "x", "attention_entropy").returncode == 0
    page = reported(lot)
    assert "validation, step 24, copy_reverse, length 8, 32 examples" in page.text
    assert "order_parameter.R" in page.text
    assert "loss over positions" in page.curves()
    assert "attention_entropy · measured later: step 24, validation" in page.text


def test_a_run_without_records_needs_no_torch(lot: Lot, tmp_path: Path) -> None:
    assert lot("run", "--task", "copy_reverse", *sets(), "--run-dir", "x").returncode == 0
    program = (
        "import sys; from lot_cli.main import main; code = main(['report', 'x'])\n"
        "print(code, sorted({'torch', 'numpy', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == "0 []", done.stderr
    assert "loss over training steps" in Page(tmp_path / "x/report.html").curves()


def test_a_moved_run_is_reported_without_its_text(lot: Lot, tmp_path: Path) -> None:
    (tmp_path / "own.txt").write_text("the cat sat on the mat\n" * 200)
    small = {"task": {"path": "own.txt", "seq_len": 8}, "model": TINY["model"], "train": TINY["train"]}
    assert lot("run", "--attn", "lattice", "--task", "char_lm", *sets(small), "--run-dir", "here").returncode == 0
    (tmp_path / "own.txt").unlink()
    (tmp_path / "here").rename(tmp_path / "x")
    page = reported(lot)
    assert f"{tmp_path / 'own.txt'}, sha256" in page.text
    assert "order_parameter" in page.pictures()


# Runs that did not end well


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("failed", "The run is unfinished: it failed."),
        ("interrupted", "The run is unfinished: it was interrupted, and saved itself first."),
        ("running", "The run is unfinished: its process ended without a word."),  # nobody holds its lock
    ],
)
def test_an_unfinished_run_says_so(lot: Lot, run: Path, state: str, said: str) -> None:
    (run / "metrics.json").unlink()
    change(run / "status.json", state=state, step=17, message="the loss is not finite at step 17")
    page = reported(lot)
    assert f"{said} step 17 of 24" in page.text
    assert "There is no final result: the metrics are those of the last validation." in page.text
    assert "loss, validation, step 24" in page.text
    assert "lot run --resume --run-dir x" in page.text
    assert ("the loss is not finite at step 17" in page.text) == (state == "failed")


def test_a_run_that_has_only_begun_is_reported(lot: Lot, run: Path) -> None:
    for entry in run.iterdir():
        if entry.name != "config.yaml":
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    page = reported(lot)
    assert "Nothing was measured yet." in page.text
    assert "No probe for leaks was made." in page.text
    assert page.curves() == []


def test_a_torn_log_costs_its_last_row(lot: Lot, run: Path) -> None:
    (run / "metrics.json").unlink()
    log = run / "metrics.jsonl"
    log.write_bytes(log.read_bytes()[:-20])
    page = reported(lot)
    assert "damaged" not in page.text
    assert "loss over training steps" in page.curves()


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("metrics.jsonl", b'{"step": 1, "split": "train", "loss": "much"}\n'),
        ("metrics.jsonl", b'{"step": 1, "split": "train", "loss": 1' + b"0" * 400 + b"}\n"),
        ("timing.jsonl", b"\xff\xfe\n"),
        ("run.json", b"[]"),
        ("metrics.json", b"{"),
        ("metrics.json", b'{"metrics": {"loss": 1' + b"0" * 400 + b"}}"),
        ("snapshots/order_parameter/step_00000024.safetensors", b"\x00" * 64),
    ],
)
def test_a_damaged_file_is_named_and_costs_itself_alone(lot: Lot, run: Path, file: str, content: bytes) -> None:
    (run / file).write_bytes(content)
    done = lot("report", "x")
    assert done.returncode == 0, done.stderr
    assert f"warning: x/{file}" in done.stderr
    page = Page(run / "report.html")
    assert f"x/{file}" in page.text
    assert "damaged" in page.text
    assert ("order_parameter" in page.pictures()) == ("snapshots" not in file)
    if "snapshots" in file:
        assert "order_parameter R over training steps" in page.curves(), "the log still has its scalars"


def test_a_diagnostic_that_is_not_installed_costs_its_picture(lot: Lot, run: Path) -> None:
    (run / "snapshots/order_parameter").rename(run / "snapshots/gone")
    page = reported(lot)
    assert "unknown diagnostic 'gone'" in page.text
    assert "grad_norm" in page.pictures()


def test_records_of_another_version_cost_their_picture(lot: Lot, run: Path) -> None:
    for file in (run / "snapshots/order_parameter").iterdir():
        shutil.copy(run / "snapshots/grad_norm/step_00000024.safetensors", file)
    page = reported(lot)
    assert "order_parameter: cannot be drawn (KeyError" in page.text


def test_a_configuration_of_another_version_is_shown_whole(lot: Lot, run: Path) -> None:
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("attn:\n", "attn:\n  spin: 3\n").replace("copy_reverse", "copy_old"))
    page = reported(lot)
    assert "lattice on copy_old" in page.text
    assert "spin = 3" in page.text
    assert "layers = 2" in page.text  # with the defaults


def test_a_leak_is_stamped(lot: Lot, run: Path) -> None:
    change(run / "run.json", leak=True, leak_probe={"status": "leak", "largest": 0.5, "step": 24})
    page = reported(lot)
    assert "LEAK" in page.text
    assert "a probe found that predictions change with what is to be predicted" in page.text


def test_what_lm_eval_asked_is_on_the_page(lot: Lot, run: Path) -> None:
    (run / "harness").mkdir()
    asked = {
        "task": "quiz",
        "step": 24,
        "examples": 3,
        "of": 1200,
        "num_fewshot": 2,
        "metrics": {"acc,none": 0.25, "em,strict": None},
    }
    (run / "harness/quiz-step_00000024-00000000.json").write_text(json.dumps(asked))
    page = reported(lot)
    for said in (
        "Tasks of lm_eval",
        "quiz",
        "step 24, 3 of 1,200 examples, 2 in each prompt",
        "acc 0.25, em (strict) not finite",
    ):
        assert said in page.text


# Folders from strangers

HOSTILE = "</title><script>&\"'</script>\x1b[2J\u202e"


def test_no_text_of_a_run_becomes_html(lot: Lot, run: Path) -> None:
    def spoiled(value: Any) -> Any:
        if isinstance(value, dict):
            return {f"{key}{HOSTILE}" if key.startswith("lot-") else key: spoiled(item) for key, item in value.items()}
        if isinstance(value, list):
            return [spoiled(item) for item in value]
        return HOSTILE if isinstance(value, str) else value

    facts = spoiled(json.loads((run / "run.json").read_text()))
    facts |= {"memory": [HOSTILE], "parent": {"path": HOSTILE}, "init_from": {"path": HOSTILE, "only": 3}}
    (run / "run.json").write_text(json.dumps({**facts, "files": {HOSTILE: {"path": HOSTILE}}}))
    (run / "metrics.json").unlink()
    change(run / "status.json", state="failed", message=HOSTILE, updated=HOSTILE)
    row = {"step": 24, "split": "validation", "loss": 1.0, HOSTILE: 0.5}
    (run / "metrics.jsonl").write_text(json.dumps({**row, "split": "train"}) + "\n" + json.dumps(row) + "\n")
    (run / "evaluations").mkdir()
    told = {"split": HOSTILE, "metrics": {HOSTILE: 10**400}, "mechanism": {HOSTILE: HOSTILE}, "task": {"name": HOSTILE}}
    (run / "evaluations/a.json").write_text(json.dumps({**told, "loss_by_position": [HOSTILE, 1.0, 10**400, 2.0]}))
    (run / "harness").mkdir()
    asked = {"task": HOSTILE, "step": HOSTILE, "of": [HOSTILE], "num_fewshot": HOSTILE, "metrics": {HOSTILE: HOSTILE}}
    (run / "harness/a.json").write_text(json.dumps(asked))
    (run / "config.yaml").write_text(
        json.dumps({HOSTILE: HOSTILE, "task": {"name": HOSTILE}, "model": HOSTILE, "seed": [HOSTILE]})
    )
    (run / f"snapshots/{HOSTILE.replace('/', '')}").mkdir()
    shutil.copy(run / "snapshots/grad_norm/step_00000024.safetensors", run / f"snapshots/{HOSTILE.replace('/', '')}")
    done = lot("report", "x")
    assert done.returncode == 0, done.stderr
    page = Page(run / "report.html")
    assert "<script" not in page.source
    assert page.source.count("&lt;script&gt;") > 15
    assert "\x1b" not in page.source + done.stderr.replace("\x1b[33m", "").replace("\x1b[0m", "")
    assert "\u202e" not in page.source + done.stderr


@posix
@pytest.mark.parametrize(
    "place", ["metrics.jsonl", "report.html", "snapshots/order_parameter", "evaluations", "harness", "config.yaml"]
)
def test_no_link_is_followed_out_of_the_folder(lot: Lot, run: Path, tmp_path: Path, place: str) -> None:
    outside = tmp_path / "outside"
    target = run / place
    if target.exists():
        target.rename(outside)
    else:
        outside.write_text("mine")
    target.symlink_to(outside)
    before = {path: path.read_bytes() for path in [outside, *outside.rglob("*")] if path.is_file()}
    refused(lot("report", "x"), f"x/{place} is a link to {outside}")
    assert {path: path.read_bytes() for path in [outside, *outside.rglob("*")] if path.is_file()} == before


@posix
def test_what_has_no_end_is_not_read(lot: Lot, run: Path) -> None:
    with (run / "metrics.jsonl").open("wb") as file:
        file.truncate(1 << 40)  # takes no room on the disk
    page = reported(lot)
    assert "x/metrics.jsonl: damaged (more than 1 GiB)" in page.text
    (run / "timing.jsonl").unlink()
    os.mkfifo(run / "timing.jsonl")
    refused(lot("report", "x"), "x/timing.jsonl is a pipe")


def test_it_says_which_data_were_asked_about_and_what_the_run_read(lot: Lot) -> None:
    Path("own.txt").write_text("the quick brown fox jumps over a lazy dog\n" * 400)
    Path("other.txt").write_text("a lazy fox jumps over the quick brown dog\n" * 400)
    text = {"task": {"seq_len": 8, "path": "own.txt"}, "model": TINY["model"], "train": TINY["train"]}
    assert lot("run", "--task", "char_lm", *sets(text), "--run-dir", "x").returncode == 0
    assert lot("eval", "x", "--data", "other.txt", "--examples", "8").returncode == 0
    assert lot("eval", "x", "--examples", "8", "--set", "task.seq_len=6").returncode == 0
    assert lot("report", "x").returncode == 0
    page = Page("x/report.html")
    assert f"test, step 24, char_lm, length 8, 8 examples, data {Path('other.txt').absolute()}" in page.text
    assert "test, step 24, char_lm, length 6, 8 examples" in page.text
    own = Path("own.txt").absolute()
    assert f"From this folder, and what the run read: {own}" in page.text
    assert f"--set 'task.path=\"{own}\"' --name again" in page.text


def test_the_command_that_repeats_a_run_repeats_it_from_anywhere(lot: Lot, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("own.txt").write_text("the quick brown fox jumps over a lazy dog\n" * 400)
    text = {"task": {"seq_len": 8, "path": "own.txt"}, "model": TINY["model"], "train": TINY["train"]}
    assert lot("run", "--task", "char_lm", *sets(text), "--run-dir", "x").returncode == 0
    (Path("else where")).mkdir()
    shutil.move("x", "else where/y z")
    monkeypatch.chdir("else where")
    assert lot("report", "y z").returncode == 0
    command = Page("y z/report.html").text.rpartition("lot run --config ")[2].strip()
    assert lot("run", "--config", *shlex.split(command)).returncode == 0
    assert Path("runs/again/version_0/metrics.jsonl").read_bytes() == Path("y z/metrics.jsonl").read_bytes()


def test_an_unfinished_run_whose_status_is_odd_says_so_and_how_far_it_came(run: Path, lot: Lot) -> None:
    Path("x/metrics.json").unlink()
    Path("x/status.json").write_text('{"state": "asleep"}')
    assert lot("report", "x").returncode == 0
    page = Page("x/report.html")
    assert "its status.json is damaged, and does not say why" in page.text
    assert "step 24 of 24" in page.text
    listed = lot("runs", "x").stdout
    assert "unknown" in listed
    assert "its status.json is damaged" in listed
    assert "continue with: lot run --resume --run-dir x" in listed


def test_it_says_that_the_default_text_repeats_itself_across_splits(lot: Lot) -> None:
    text = {"task": {"seq_len": 8}, "model": TINY["model"], "train": TINY["train"]}
    assert lot("run", "--task", "char_lm", *sets(text), "--run-dir", "x").returncode == 0
    assert lot("report", "x").returncode == 0
    told = "Its splits are not wholly apart: the help topics of Python repeat sections of each other"
    assert told in Page("x/report.html").text
    done = lot("sweep", "--task", "char_lm", *sets(text), "--set", "optim.lr=1e-3,1e-2", "--name", "s")
    assert done.returncode == 0, done.stderr
    for file in ("sweep.json", "report.md", "report.html"):
        assert "the help topics of Python repeat sections of each other" in Path("sweeps/s", file).read_text()
