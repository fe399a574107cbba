"""What training shows in a notebook; a display in place of a real one. The real one is in `tests/test_notebook.py`."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from toy import toy_config

from lot.training import notebook
from lot.training.train import train

DOCS = Path(__file__).parents[3] / "docs" / "python.md"


class Screen:
    """Stands for IPython: outputs in order, each with all texts that it has had."""

    def __init__(self) -> None:
        self.outputs: list[list[dict[str, str]]] = []

    def display(self, data: dict[str, str], *, raw: bool, display_id: bool) -> Any:
        shown = [data]
        self.outputs.append(shown)
        return SimpleNamespace(update=lambda data, raw: shown.append(data))


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    """This process, as if it were a kernel."""
    found = Screen()
    shell = SimpleNamespace(kernel=object())
    ipython: Any = SimpleNamespace(get_ipython=lambda: shell, display=SimpleNamespace(display=found.display))
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setattr(notebook, "EVERY", 0.0)
    return found


def test_a_notebook_sees_one_line_that_is_rewritten(screen: Screen, tmp_path: Path) -> None:
    train(toy_config(), tmp_path / "<x>")
    header, line = screen.outputs
    assert header[0]["text/plain"].startswith("toy-vanilla: ")
    assert "/&lt;x&gt;</pre>" in header[0]["text/html"]
    texts = [data["text/plain"] for data in line]
    assert texts[0] == "step 0/12"
    assert [int(text.split()[1].split("/")[0]) for text in texts] == sorted([0, 3, 4, 6, 8, 9, 12, 12])
    assert re.fullmatch(r"step 12/12  loss [\d.]+  validation loss [\d.]+  [\d,]+ tokens/s", texts[-1])
    assert re.search(r"  \d+ s left$", texts[-3])


def test_warnings_and_a_leak_are_told(screen: Screen, tmp_path: Path) -> None:
    progress = notebook.NotebookProgress()
    facts = {"title": "t", "parameters": 5, "device": "CPU", "run": "x", "leak": True, "step": 0, "steps": 9}
    progress("start", facts)
    progress("warning", {"step": 0, "text": "a < b"})
    progress("checkpoint", {"step": 0, "path": "x"})
    assert "LEAK" in screen.outputs[0][0]["text/plain"]
    assert screen.outputs[2] == [
        {"text/plain": "warning: a < b", "text/html": '<pre style="margin:0">warning: a &lt; b</pre>'}
    ]
    assert len(screen.outputs) == 3


def test_a_report_of_ones_own_takes_its_place(screen: Screen, tmp_path: Path) -> None:
    train(toy_config(), tmp_path / "x", report=lambda event, facts: None)
    assert screen.outputs == []


def test_elsewhere_nothing_is_shown(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert not notebook.in_notebook()
    train(toy_config("recorders.tensorboard=null"), tmp_path / "x")
    assert capfd.readouterr() == ("", "")


def test_every_event_and_its_facts_are_documented(tmp_path: Path) -> None:
    if not DOCS.exists():
        pytest.skip("an installed core has no pages")
    rows = re.findall(
        r"^\| (`\w+`(?:, `\w+`)?) \| .*? \| (.*) \|$", DOCS.read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    documented = {
        event: set(re.findall(r"`(\w+)`", facts)) for events, facts in rows for event in re.findall(r"\w+", events)
    }
    seen: dict[str, set[str]] = {}
    config = toy_config("diagnostics.grad_norm.every=4")

    def report(event: str, facts: dict[str, Any]) -> None:
        seen.setdefault(event, set()).update(facts)

    train(config, tmp_path / "x", report=report)
    assert seen.keys() | {"resume", "warning"} == documented.keys()
    for event, facts in seen.items():
        assert documented[event] <= facts, event
