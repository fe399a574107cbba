"""Printing: control characters are shown, our own styles stay, and nothing prints past the seam."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

import lot_cli
from lot_cli.terminal.console import console
from lot_cli.terminal.echo import echo, visible

HOSTILE = "a\x1b[2Jb\x9b0m\r\x7f\u202ec\ud800"
SHOWN = r"a\x1b[2Jb\x9b0m\r\x7f\u202ec\ud800"


def test_control_characters_are_escapes_and_lines_and_tabs_stay() -> None:
    assert visible(HOSTILE) == SHOWN
    assert visible("line\n\ttab é 漢 🙂") == "line\n\ttab é 漢 🙂"


def test_what_is_echoed(capsys: pytest.CaptureFixture[str]) -> None:
    echo(HOSTILE)
    assert capsys.readouterr().out == f"{SHOWN}\n"


def test_our_own_styles_are_no_text(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(click, "echo", lambda text, **options: said.append(text))
    echo(click.style("name", fg="cyan", bold=True) + "\x1b[8mhidden")
    assert said == [click.style("name", fg="cyan", bold=True) + r"\x1b[8mhidden"]


def test_what_a_console_prints(capsys: pytest.CaptureFixture[str]) -> None:
    console(stderr=False).print(HOSTILE, soft_wrap=True)
    said = capsys.readouterr().out
    assert said.replace("\n", "").isprintable()
    assert r"a\x1b[2Jb" in said


def test_every_command_prints_by_the_seam() -> None:
    sources = [path for path in Path(lot_cli.__file__).parent.rglob("*.py") if path.name != "echo.py"]
    assert len(sources) > 50
    found = [
        path.name for path in sources if re.search(r"click\.(s?echo)\(|^ *print\(|\bConsole\(", path.read_text(), re.M)
    ]
    assert [
        name for name in found if name not in ("console.py", "__init__.py", "reader.py")
    ] == []  # the reader runs where LOT is not
