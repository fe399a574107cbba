"""`benchmarks/gpu.py`: its steps end when the time is over, and each says how it ended."""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from pathlib import Path

import pytest

FILE = Path(__file__).resolve().parent.parent / "benchmarks" / "gpu.py"


@pytest.fixture
def script(monkeypatch):
    spec = importlib.util.spec_from_file_location("gpu_script", FILE)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "gpu_script", module)
    spec.loader.exec_module(module)
    return module


def step(script, name: str, code: str, most: float = 60):
    return script.Step(name, (sys.executable, "-c", code), most)


@pytest.mark.parametrize(
    ("code", "seconds", "end"),
    [
        ("pass", 60, "done"),
        ("raise SystemExit(3)", 60, "failed (3)"),
        ("import time; time.sleep(600)", 1, "stopped after 1 s"),
        ("import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)", 2, "stopped after"),
    ],
)
def test_a_step_says_how_it_ended(script, monkeypatch, code, seconds, end):
    monkeypatch.setattr(script, "GRACE", 0.5)
    assert script.run(step(script, "one", code), seconds).startswith(end)


def test_a_stopped_step_leaves_no_process(script, tmp_path, monkeypatch):
    monkeypatch.setattr(script, "GRACE", 0.5)
    mark = tmp_path / "alive"
    child = f"import time\nwhile True: open({str(mark)!r}, 'w').close(); time.sleep(0.05)"
    code = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {child!r}]); time.sleep(600)"
    script.run(step(script, "parent", code), 2)
    assert mark.exists()
    mark.unlink()
    time.sleep(0.5)
    assert not mark.exists()


def test_what_does_not_fit_is_not_begun_and_all_is_told(script, tmp_path, monkeypatch, capsys):
    steps = [step(script, "first", "pass"), step(script, "second", "raise SystemExit(1)")]
    monkeypatch.setattr(script, "steps", lambda device, out, runs: iter(steps))
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--minutes", "2", "--out", str(tmp_path)])
    assert script.main() == 1
    assert json.loads((tmp_path / "gpu-steps.json").read_text()) == {"first": "done", "second": "failed (1)"}
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--minutes", "0", "--out", str(tmp_path)])
    assert script.main() == 1
    assert set(json.loads((tmp_path / "gpu-steps.json").read_text()).values()) == {"not begun: the time is over"}
    assert "second: not begun" in capsys.readouterr().out


def test_every_file_that_it_names_is_there(script, tmp_path):
    for each in script.steps("cuda", tmp_path, tmp_path):
        for word in each.command[1:]:
            assert not word.endswith((".py", ".yaml")) or Path(word).is_file()
