"""`text_stream` through the commands that a user types: trained, resumed, moved, studied, and refused in one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from support import Lot

from lot_cli.study.design.file import study_from
from lot_cli.study.design.plan import make_run, numerics, plan_arms

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


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LOT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def words(**more: object) -> list[str]:
    sets = {**SIZES, **{f"task.{key}": value for key, value in more.items()}}
    return [word for key, value in sets.items() for word in ("--set", f"{key}={value}")]


def write(path: str, count: int = 1000) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"text": f"document {i} tells of {i % 7} cats " * (1 + i % 5)}) for i in range(count)]
    Path(path).write_text("\n".join(lines) + "\n")


def run(lot: Lot, directory: str, *more: str, **options: object) -> None:
    done = lot("run", "--task", "text_stream", "--attn", "vanilla", *words(**options), *more, "--run-dir", directory)
    assert done.returncode == 0, done.stderr


def test_a_run_says_that_it_indexes_and_the_next_one_does_not(lot: Lot) -> None:
    write("data/a.jsonl")
    first = lot("run", "--task", "text_stream", "--attn", "vanilla", *words(path="data"), "--run-dir", "r")
    assert first.returncode == 0, first.stderr
    assert "indexing data/a.jsonl (0.1 MB)" in first.stderr
    assert "text_stream  (path data, field text, tokenizer byte," in first.stderr
    second = lot("run", "--task", "text_stream", "--attn", "vanilla", *words(path="data"), "--run-dir", "s")
    assert "indexing" not in second.stderr
    assert Path("r/metrics.jsonl").read_bytes() == Path("s/metrics.jsonl").read_bytes()


def test_a_mixture_trains_and_a_moved_run_is_used_without_its_documents(lot: Lot) -> None:
    write("here/a.jsonl")
    write("here/b/c.jsonl", 1500)
    run(lot, "r", mixture='{"here/a.jsonl": 1, "here/b": 2}', tokenizer="char")
    shutil.move("here", "gone")
    done = lot("generate", "r", "--prompt", "document 3", "--tokens", "3", "--json")
    assert done.returncode == 0, done.stderr
    refused = lot("eval", "r")
    assert refused.returncode == 2
    assert "what the run was trained on is not here" in refused.stderr
    assert lot("eval", "r", "--data", "gone/b").returncode == 0


def test_training_goes_on_elsewhere_with_the_same_documents_only(lot: Lot) -> None:
    write("here/data/a.jsonl")
    run(lot, "r", path="here/data")
    weights = Path("r/checkpoints/step_00000004/model.safetensors")
    expected = weights.read_bytes()
    shutil.rmtree(weights.parent)
    Path("r/metrics.json").unlink()
    shutil.move("here", "gone")
    refused = lot("run", "--resume", "--run-dir", "r")
    assert refused.returncode == 2
    assert "what the run was trained on is not here" in refused.stderr
    write("other/a.jsonl", 900)
    refused = lot("run", "--resume", "--run-dir", "r", "--data", "other")
    assert refused.returncode == 2
    assert "--data: expected the data of the training, digest" in refused.stderr
    done = lot("run", "--resume", "--run-dir", "r", "--data", "gone/data")
    assert done.returncode == 0, done.stderr
    assert weights.read_bytes() == expected


def unfinished(directory: str) -> tuple[Path, bytes]:
    """Takes the last checkpoint and the result of a run away; the file of its weights, and what was in it."""
    weights = Path(directory) / "checkpoints/step_00000004/model.safetensors"
    content = weights.read_bytes()
    shutil.rmtree(weights.parent)
    (Path(directory) / "metrics.json").unlink()
    return weights, content


@pytest.mark.parametrize("path", ["here/data", "here/data/*.jsonl", "here/data/a.jsonl"])
def test_the_digest_that_is_recorded_is_asked_for_and_compared(lot: Lot, path: str) -> None:
    write("here/data/a.jsonl")
    run(lot, "r", path=path)
    unfinished("r")
    known = json.loads(Path("r/run.json").read_text())["files"]["task.path"]
    assert (known["path"], known["files"]) == (str(Path(path).absolute()), 1)
    assert known["bytes"] == Path("here/data/a.jsonl").stat().st_size
    shutil.move("here", "gone")
    asked = lot("run", "--resume", "--run-dir", "r").stderr
    assert f"{known['path']} (1 file, {known['bytes']:,} bytes, digest {known['digest']})" in " ".join(asked.split())
    write("other/a.jsonl", 900)
    refused = lot("run", "--resume", "--run-dir", "r", "--data", "other").stderr
    assert f"expected the data of the training, digest {known['digest']}, got other" in " ".join(refused.split())
    assert lot("run", "--resume", "--run-dir", "r", "--data", path.replace("here", "gone")).returncode == 0


def test_a_moved_mixture_goes_on_in_the_folder_that_has_its_sources(lot: Lot) -> None:
    write("here/a.jsonl")
    write("here/b/c.jsonl", 1500)
    write("stays/d.jsonl", 700)
    run(lot, "r", mixture='{"here/a.jsonl": 1, "here/b": 2, "stays/d.jsonl": 1}')
    weights, expected = unfinished("r")
    known = json.loads(Path("r/run.json").read_text())["files"]
    assert set(known) == {"task.mixture.here/a.jsonl", "task.mixture.here/b", "task.mixture.stays/d.jsonl"}
    shutil.move("here", "gone")
    asked = " ".join(lot("run", "--resume", "--run-dir", "r").stderr.split())
    for name in ("here/a.jsonl", "here/b"):
        assert f"{Path(name).absolute()} (" in asked
        assert known[f"task.mixture.{name}"]["digest"] in asked
    assert "name with --data FOLDER where it lies under its name (a.jsonl)" in asked
    Path("less").mkdir()
    shutil.copy("gone/a.jsonl", "less/a.jsonl")
    refused = lot("run", "--resume", "--run-dir", "r", "--data", "less")
    assert (refused.returncode, "--data: expected a folder with b too, got less" in refused.stderr) == (2, True)
    shutil.copytree("gone", "other")
    write("other/a.jsonl", 999)
    refused = lot("run", "--resume", "--run-dir", "r", "--data", "other")
    assert refused.returncode == 2
    told = " ".join(refused.stderr.split())
    assert f"expected here/a.jsonl of the training, digest {known['task.mixture.here/a.jsonl']['digest']}" in told
    done = lot("run", "--resume", "--run-dir", "r", "--data", "gone")
    assert done.returncode == 0, done.stderr
    assert weights.read_bytes() == expected
    measured = lot("eval", "r", "--data", "gone", "--json")
    assert measured.returncode == 0, measured.stderr
    assert "no longer those of the training" not in measured.stderr


def test_an_edited_folder_is_told_when_a_run_is_evaluated(lot: Lot) -> None:
    write("data/a.jsonl")
    run(lot, "r", path="data")
    write("data/b.jsonl", 50)
    assert "the files that the task text_stream reads are no longer those of the training" in lot("eval", "r").stderr


def test_a_study_makes_a_run_again_when_a_folder_or_glob_was_edited(tmp_path: Path) -> None:
    write(str(tmp_path / "data" / "a.jsonl"), 50)

    def key(path: str) -> str:
        base = {"task": {"name": "text_stream", "path": path}, "train": {"steps": 2}}
        arms = {"vanilla": {"attn": {"name": "vanilla"}}, "wide": {"attn": {"name": "vanilla"}, "model": {"width": 64}}}
        study = study_from({"arms": arms, "base": base, "reference": "vanilla"}, "study")
        return make_run(plan_arms(study)[0], 0, {}, "report", numerics(study, "cpu")).key

    for path in (str(tmp_path / "data"), str(tmp_path / "data" / "*.jsonl")):
        before = key(path)
        assert key(path) == before
        with (tmp_path / "data" / "a.jsonl").open("a") as file:
            file.write('{"text": "one more"}\n')
        assert key(path) != before


@pytest.mark.parametrize(
    ("content", "options", "said"),
    [
        ('{"text": "x"}\n{"text": "cut', {}, "a.jsonl: line 2 is not JSON"),
        ('{"body": "x"}\n', {}, "a.jsonl: line 1 has no field 'text', but 'body'"),
        ('{"text": "x"}\n', {"path": "gone/*.jsonl"}, "task.path: gone/*.jsonl: no file has such a name"),
        ('{"text": "x"}\n', {"path": "a.csv"}, "task.path: a.csv cannot be read (No such file"),
        ('{"text": ""}\n', {}, "expected at least 32 tokens in it for seq_len 16, got 0"),
        ('{"text": "x"}\n', {"tokenizer": "word"}, "task.tokenizer: expected char, byte or a file, got 'word'"),
        ('{"text": "x"}\n', {"hub": "own/one"}, "task.hub: expected none where path is given"),
        ('{"text": "x"}\n', {"validation": 0.7}, "task.validation: expected a number > 0 and < 0.5, got 0.7"),
    ],
)
def test_what_cannot_be_used_is_one_line(lot: Lot, content: str, options: dict[str, object], said: str) -> None:
    Path("a.jsonl").write_text(content)
    done = lot("run", "--task", "text_stream", "--attn", "vanilla", *words(**{"path": "a.jsonl", **options}))
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not Path("runs").exists()


def test_the_cache_is_listed_and_deleted(lot: Lot, cache: Path) -> None:
    write("data/a.jsonl")
    run(lot, "r", path="data")
    listed = json.loads(lot("cache", "--json").stdout)
    assert listed["folder"] == str(cache)
    (entry,) = [entry for entry in listed["entries"] if entry["what"]]
    assert entry["what"].startswith("data/a.jsonl: 1,000 documents, ")
    assert entry["bytes"] > 100_000
    assert entry["name"] in lot("cache").stdout
    done = lot("cache", entry["name"], "--delete")
    assert done.returncode == 0, done.stderr
    assert f"deleted {entry['name']}" in done.stderr
    assert not (cache / entry["name"]).exists()
    assert lot("cache", entry["name"]).returncode == 2
