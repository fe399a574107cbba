"""`lot generate`, `lot plot` and `lot runs` on a recorded run: an option that would change nothing is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lot.contracts import Task

SIZES = ["task.seq_len=8", "task.vocab_size=12", "model.width=16", "model.heads=2", "model.layers=1", "train.steps=2"]


@pytest.fixture
def recorded(lot: Callable) -> Callable:
    """The command line, in a folder with a run in `r`."""
    done = lot("run", "--task", "copy_reverse", *(word for size in SIZES for word in ("--set", size)), "--run-dir", "r")
    assert done.code == 0, done.err
    return lot


IDLE = "nothing is drawn at temperature 0, which takes the likeliest token; add --temperature 1"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["generate", "r", "--samples", "2"], f"--samples: {IDLE}"),
        (["generate", "r", "--top-k", "2", "--seed", "0"], f"--top-k and --seed: {IDLE}"),
        (["generate", "r", "--prompt", "1", "--temperature", "0", "--top-p", "0.5"], f"--top-p: {IDLE}"),
        (
            ["generate", "r", "--prompt", "1", "--example", "0"],
            "--prompt and --example both say what to continue; give one",
        ),
        (
            ["generate", "r", "--temperature", "nan"],
            "Invalid value for --temperature: expected a finite number, got nan",
        ),
        (["plot", "r", "--movie", "gif"], "--movie is the format of the animations; add --animate"),
    ],
)
def test_an_option_that_would_change_nothing_is_refused(recorded: Callable, arguments: list[str], said: str) -> None:
    done = recorded(*arguments)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"error: {said}")


def test_draws_are_made_where_a_temperature_is_given(recorded: Callable) -> None:
    done = recorded("generate", "r", "--samples", "2", "--temperature", "1", "--top-k", "2", "--seed", "3")
    assert done.code == 0, done.err
    assert [line.split()[:2] for line in done.out.splitlines()] == [["sample", "1"], ["sample", "2"]]


def test_a_prompt_that_a_plugin_cannot_read_is_no_bug(recorded: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    from lot_tasks.synthetic.copy_reverse import CopyReverse

    def encode(self: Task, text: str) -> list[int]:
        return [int(word) for word in text.split()]

    monkeypatch.setattr(CopyReverse, "encode", encode)
    done = recorded("generate", "r", "--prompt", "1 x")
    assert (done.code, done.out) == (2, "")
    assert done.err == "error: --prompt: the task cannot read it: invalid literal for int() with base 10: 'x'\n"


def test_smoothing_without_curves_is_refused(recorded: Callable) -> None:
    assert recorded("plot", "r", "curves", "--smooth", "1").code == 0
    Path("r/config.yaml").write_text(
        Path("r/config.yaml").read_text().replace("diagnostics: {}", "diagnostics: {grad_norm: {every: 1}}")
    )
    done = recorded("plot", "r", "grad_norm", "--smooth", "2")
    assert (done.code, done.err.splitlines()[0]) == (
        2,
        "error: --smooth is about the learning curves; add the name curves",
    )
    assert "grad_norm: nothing recorded yet" in recorded("plot", "r", "grad_norm").err


def test_a_configuration_of_the_user_hides_no_run(recorded: Callable) -> None:
    Path("config.yaml").write_text("task: {name: copy_reverse}\n")
    done = recorded("runs", ".")
    assert (done.code, done.out.split()[:2]) == (0, ["complete", "r"])


def test_a_file_is_no_folder_of_runs(recorded: Callable) -> None:
    done = recorded("runs", "r/config.yaml")
    assert (done.code, done.err.partition(";")[0]) == (2, "error: r/config.yaml: not a folder")
