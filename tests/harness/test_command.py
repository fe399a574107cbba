"""`lot harness` on local tasks, with the real lm_eval and no network."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
from harness.tasks import CHOICE, QUESTIONS, ROLLING, TEXTS, WRITTEN, write_task, write_tasks
from support import Lot, refused, sets

pytest.importorskip("lm_eval")

SMALL: dict[str, Any] = {
    "task": {"seq_len": 32},
    "model": {"width": 16, "heads": 2, "layers": 1},
    "train": {"steps": 4, "batch_size": 4, "warmup": 2, "eval_examples": 8, "test": False, "compile": "off"},
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on bytes, made once."""
    from lot_cli.main import main

    folder = tmp_path_factory.mktemp("trained")
    assert main(["run", "--task", "bytes_lm", "--attn", "lattice", "--run-dir", str(folder / "run"), *sets(SMALL)]) == 0
    return folder / "run"


@pytest.fixture
def run(trained: Path, hub: Path) -> Path:
    """The run, in the folder of this test, with the tasks beside it."""
    shutil.copytree(trained, hub / "run")
    write_tasks(hub / "tasks")
    return hub / "run"


def test_answers_are_kept_by_example_and_asked_once(lot: Lot, run: Path) -> None:
    done = lot("harness", "run", "tasks", "--json", "--out", "found.json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert json.loads(Path("found.json").read_text()) == document
    by_name = {task["task"]: task for task in document["tasks"]}
    assert set(by_name) == {"choice", "rolling", "written"}
    for name, task in by_name.items():
        (kept,) = (run / "harness").glob(f"{name}-step_00000004-*.json")
        assert json.loads(kept.read_text())["metrics"] == task["metrics"]
        rows = [json.loads(line) for line in kept.with_suffix(".jsonl").read_text().splitlines()]
        assert [row["doc_id"] for row in rows] == list(range(len(TEXTS if name == "rolling" else QUESTIONS)))
        assert (task["reused"], task["facts"]["lm_eval"]) == (
            False,
            __import__("importlib.metadata").metadata.version("lm_eval"),
        )
        if name == "choice":
            accuracy = sum(row["metrics"]["acc"] for row in rows) / len(rows)
            assert task["metrics"]["acc,none"] == pytest.approx(accuracy)
    shown = lot("harness", "run", "tasks")
    assert "choice   acc ↑" in shown.stdout
    again = lot("harness", "run", "choice,rolling", "written", "--include", "tasks", "--json")
    assert [task["reused"] for task in json.loads(again.stdout)["tasks"]] == [True, True, True]
    assert {t["task"]: t["metrics"] for t in json.loads(again.stdout)["tasks"]} == {
        n: t["metrics"] for n, t in by_name.items()
    }
    assert "choice: measured" in again.stderr
    assert "kept in run/harness" in again.stderr


def test_no_batch_size_changes_an_answer_and_other_questions_are_asked_anew(lot: Lot, run: Path) -> None:
    def asked(*options: str) -> dict[str, Any]:
        done = lot("harness", "run", "tasks", "--json", *options)
        assert done.returncode == 0, done.stderr
        return {task["task"]: task for task in json.loads(done.stdout)["tasks"]}

    large = asked("--batch-size", "16")
    shutil.rmtree(run / "harness")
    small = asked("--batch-size", "1")
    for name, task in large.items():
        assert small[name]["metrics"] == pytest.approx(task["metrics"], rel=1e-5)
    limited = asked("--limit", "3")
    assert all(not task["reused"] and task["examples"] == 3 for task in limited.values())
    data = Path("tasks/questions.jsonl")
    data.write_text(data.read_text().replace("sum", "total"))
    edited = asked()
    assert [edited[name]["reused"] for name in ("choice", "rolling", "written")] == [False, True, False]


def test_texts_without_a_context_lose_their_first_token_unless_one_is_named(lot: Lot, run: Path) -> None:
    plain = lot("harness", "run", "tasks/rolling.yaml", "--json")
    assert "rolling: in 4 of 4 requests there is no context" in plain.stderr
    named = lot("harness", "run", "tasks/rolling.yaml", "--prefix", "\n", "--json")
    assert named.returncode == 0, named.stderr
    assert "no context" not in named.stderr
    (first,), (second,) = (json.loads(done.stdout)["tasks"] for done in (plain, named))
    assert first["facts"]["prefix"] is None
    assert second["facts"]["prefix"] == ord("\n")
    assert first["metrics"]["bits_per_byte,none"] < second["metrics"]["bits_per_byte,none"]  # a byte less is paid for


def test_contexts_that_are_too_long_are_cut_and_told(lot: Lot, run: Path) -> None:
    done = lot("harness", "run", "tasks/choice.yaml", "--num-fewshot", "1")
    assert done.returncode == 0, done.stderr
    assert "choice: 60 of 60 requests are longer than the 32 tokens that this model reads" in done.stderr


def test_what_is_drawn_is_drawn_by_the_seed(lot: Lot, run: Path) -> None:
    write_tasks(
        Path("drawn"), task="drawn", generation_kwargs={"do_sample": True, "temperature": 1.5, "max_gen_toks": 6}
    )

    def texts(*options: str) -> list[str]:
        shutil.rmtree(run / "harness", ignore_errors=True)
        assert lot("harness", "run", "drawn/drawn.yaml", *options).returncode == 0
        (kept,) = (run / "harness").glob("*.jsonl")
        return [json.loads(line)["responses"][0] for line in kept.read_text().splitlines()]

    first = texts()
    assert texts("--batch-size", "1") == first
    assert texts("--limit", "2") == first[:2]
    assert texts("--seed", "7") != first


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "choise", "--include", "tasks"], ["lm_eval has no task 'choise'; did you mean 'choice'?"]),
        (
            ["run", "lambada_openai"],
            ["lambada_openai: its data are not on this machine, and 127.0.0.1 cannot be reached"],
        ),
        (["run", "tasks/gone.yaml"], ["tasks/gone.yaml: no such file or folder"]),
        (["run", "choice", "--include", "gone"], ["gone: no such file or folder"]),
        (["run", "tasks", "--limit", "0"], ["--limit"]),
        (["gone", "tasks"], ["gone: no run there"]),
        (["run", "tasks", "--prefix", "two"], ["--prefix: expected one token of the tokenizer"]),
        (["run", "tasks", "--metadata", "["], ["--metadata: expected a table in JSON"]),
        (["run", "blimp_nothing*"], ["no task matches 'blimp_nothing*'"]),
    ],
    ids=lambda value: " ".join(value)[:40],
)
def test_what_cannot_be_asked_is_refused_in_a_line(lot: Lot, run: Path, arguments: list[str], words: list[str]) -> None:
    refused(lot("harness", *arguments), *words)
    assert not (run / "harness").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"doc_to_txt": "{{question}}"}, ["lm_eval cannot load this task", "doc_to_txt"]),
        ({"doc_to_text": "{{questoin}}"}, ["questoin"]),
        ({"metric_list": [{"metric": "accc"}]}, ["accc"]),
        (
            {"generation_kwargs": {"until": ["."], "num_beams": 4}},
            ["generation_kwargs.num_beams: expected", "num_beams: 4"],
        ),
        ({"generation_kwargs": {"until": ["."], "max_gen_toks": 32}}, ["max_gen_toks: expected 1 to 31", "got 32"]),
        ({"unsafe_code": True}, ["runs code that the model writes"]),
        ({"process_results": "!function"}, []),
    ],
    ids=lambda value: "-".join(value)[:30] if isinstance(value, dict) else "",
)
def test_a_mistake_in_a_task_file_is_told_in_a_line(
    lot: Lot, run: Path, changes: dict[str, Any], words: list[str]
) -> None:
    path = write_task(Path("tasks"), {**WRITTEN, "task": "odd", **changes}, Path("tasks/questions.jsonl"))
    refused(lot("harness", "run", str(path)), *words)


def test_code_beside_a_task_is_part_of_the_question(lot: Lot, run: Path) -> None:
    """An equal question is answered from what is kept; another function that the named one calls makes it another one."""
    path = write_task(Path("tasks"), {**CHOICE, "task": "coded"}, Path("tasks/questions.jsonl"))
    path.write_text(path.read_text().replace('"{{question}}"', "!function coded.text"))
    code = "def ending():\n    return {!r}\n\n\ndef text(doc):\n    return doc['question'] + ending()\n"

    def asked() -> tuple[bool, list[Any]]:
        done = lot("harness", "run", str(path), "--json")
        assert done.returncode == 0, done.stderr
        (task,) = json.loads(done.stdout)["tasks"]
        rows = path_of(task).with_suffix(".jsonl").read_text().splitlines()
        return task["reused"], [json.loads(row)["responses"] for row in rows]

    def path_of(task: dict[str, Any]) -> Path:
        return run / "harness" / f"coded-step_00000004-{task['key'][:8]}.json"

    Path("tasks/coded.py").write_text(code.format(" so"))
    first = asked()
    assert (first[0], asked()) == (False, (True, first[1]))
    Path("tasks/coded.py").write_text(code.format(" then, it is"))
    other = asked()
    assert other[0] is False
    assert other[1] != first[1]


def test_a_perplexity_that_no_float_holds_costs_no_other_answer(lot: Lot, run: Path) -> None:
    """A text in which no space ends a word has the likelihood of hundreds of letters in one word."""
    Path("long.jsonl").write_text(json.dumps({"text": "x" * 999}) + "\n")
    write_task(Path("tasks"), {**ROLLING, "task": "endless"}, Path("long.jsonl"))
    done = lot("harness", "run", "endless,choice", "--include", "tasks", "--json")
    assert done.returncode == 0, done.stderr
    endless, choice = json.loads(done.stdout)["tasks"]
    assert endless["metrics"]["word_perplexity,none"] is None
    assert 0 < endless["metrics"]["bits_per_byte,none"] < 20
    assert choice["examples"] == len(QUESTIONS)
    group = {"group": "texts", "task": ["endless", "rolling"], "aggregate_metric_list": [{"metric": "word_perplexity"}]}
    Path("tasks/texts.yaml").write_text(json.dumps(group))
    both = lot("harness", "run", "texts", "--include", "tasks", "--json")
    assert json.loads(both.stdout)["groups"] == {"texts": {"word_perplexity,none": None}}  # no mean of the others
    assert lot("harness", "run", "texts", "--include", "tasks").stdout.count("not finite") == 2


def test_two_tasks_of_one_name_are_refused(lot: Lot, run: Path) -> None:
    shutil.copytree("tasks", "others")
    refused(
        lot("harness", "run", "tasks/choice.yaml", "others/choice.yaml"), "two tasks are called 'choice'", "rename one"
    )
    assert lot("harness", "run", "tasks/choice.yaml", "choice", "--include", "tasks").returncode == 0


def test_groups_tags_and_patterns_are_their_tasks(lot: Lot, run: Path) -> None:
    folder = Path("more")
    folder.mkdir()
    for name, data in (("first", "questions"), ("second", "questions")):
        write_task(folder, {**CHOICE, "task": name, "tag": "both"}, Path(f"tasks/{data}.jsonl"))
    metrics = [{"metric": "acc", "aggregation": "mean", "weight_by_size": True}]
    group = {"group": "pair", "task": ["first", "second"], "aggregate_metric_list": metrics}
    (folder / "pair.yaml").write_text(json.dumps(group))
    for asked in ("pair", "both", "more", "fir*,sec*", "more/first.yaml,second"):
        done = lot("harness", "run", asked, "--include", "more", "--json")
        assert done.returncode == 0, done.stderr
        document = json.loads(done.stdout)
        assert [task["task"] for task in document["tasks"]] == ["first", "second"], asked
        if asked == "pair":
            mean = sum(task["metrics"]["acc,none"] for task in document["tasks"]) / 2
            assert document["groups"]["pair"]["acc,none"] == pytest.approx(mean)


def test_files_that_cannot_be_read_are_told(lot: Lot, run: Path) -> None:
    Path("tasks/broken.yaml").write_text("task: [broken")
    done = lot("harness", "run", "broken", "--include", "tasks")
    assert done.returncode == 2
    assert "left out: tasks/broken.yaml" in done.stderr
    assert "it may be in a file that cannot be read: tasks/broken.yaml" in done.stderr
    refused(lot("harness", "run", "tasks/broken.yaml"), "broken.yaml: lm_eval cannot load this task")
    Path("bare").mkdir()
    refused(lot("harness", "run", "bare"), "bare: no task there")
    Path("empty.jsonl").touch()
    path = write_task(Path("tasks"), {**CHOICE, "task": "empty"}, Path("empty.jsonl"))
    refused(lot("harness", "run", str(path)), "empty.yaml")


def test_a_run_without_text_or_with_other_symbols_is_told(lot: Lot, run: Path) -> None:
    assert lot("run", "--task", "copy_reverse", "--run-dir", "symbols", *sets()).returncode == 0
    refused(lot("harness", "symbols", "tasks"), "choice, example 0: 'the' is no token of copy_reverse")


def test_a_run_that_cannot_be_written_is_still_answered(lot: Lot, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lot_cli.harness import records

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(records, "write_atomic", full)
    done = lot("harness", "run", "tasks/choice.yaml", "--json")
    assert done.returncode == 0
    assert "the result of choice is not kept" in done.stderr
    assert math.isfinite(json.loads(done.stdout)["tasks"][0]["metrics"]["acc,none"])


def test_what_was_finished_before_an_interruption_stays(lot: Lot, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lot_cli.harness.language_model import RunModel

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RunModel, "generate_until", interrupted)
        assert lot("harness", "run", "tasks").returncode == 130
    assert {path.name.partition("-")[0] for path in (run / "harness").iterdir()} == {"choice", "rolling"}
    done = lot("harness", "run", "tasks", "--json")
    assert [task["reused"] for task in json.loads(done.stdout)["tasks"]] == [True, True, False]


def test_a_bug_of_ours_is_told_as_a_bug(lot: Lot, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lot_cli.harness.scoring import Speaker

    def broken(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Speaker, "score", broken)
    assert lot("harness", "run", "tasks/choice.yaml").returncode == 1
