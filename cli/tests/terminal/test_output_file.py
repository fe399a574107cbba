"""A place that cannot be written is refused before anything is computed for it, as it would be refused afterwards."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lot.errors import BadInput
from lot_cli.terminal.output_file import require_writable, writing_to


@pytest.mark.parametrize("parent", ["gone", "file", "file/below"])
def test_it_says_what_the_writing_would_say(tmp_path: Path, parent: str) -> None:
    (tmp_path / "file").write_text("")
    path = tmp_path / parent / "x.html"
    with pytest.raises(BadInput) as after, writing_to(path, fix="another"):
        path.write_text("")
    with pytest.raises(BadInput) as before:
        require_writable(path.parent, path, fix="another")
    wrong = "No such file or directory" if parent == "file/below" else None  # seen from its folder, which is not there
    assert str(before.value) == (f"{path}: cannot be written ({wrong}); another" if wrong else str(after.value))
    require_writable(tmp_path, tmp_path / "x.html", fix="another")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            ["report", "r"],
            "error: r/report.html: cannot be written (Permission denied); choose another file with --out",
        ),
        (["diagnose", "r"], "error: r/diagnoses: cannot be written (Permission denied); make the folder of the run"),
        (["export", "r", "r/x.pt2"], "error: r/x.pt2: cannot be written (Permission denied); choose another folder"),
    ],
)
def test_commands_refuse_in_one_line(
    lot: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], line: str
) -> None:
    (tmp_path / "r").mkdir()
    (tmp_path / "r/config.yaml").write_text("task: {name: copy_reverse}\n")
    allowed = os.access
    monkeypatch.setattr(
        os, "access", lambda path, mode: allowed(path, mode) and not (mode & os.W_OK and Path(path).name == "r")
    )
    done = lot(*words)
    assert (done.code, done.err.count("\n")) == (2, 1), done.err
    assert line in done.err
