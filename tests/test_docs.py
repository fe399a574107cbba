"""What `docs/extending.md` says is true: its plugin passes the kit, and its tables are those of the code."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from support import ROOT

from lot.plugins.hookspecs import HOOKS
from lot.signals import SIGNALS

TEXT = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder that holds the page's plugin, as pip would have installed it."""
    for block in re.findall(r"^```python\n(# (\S+)\n.*?)^```", TEXT, flags=re.MULTILINE | re.DOTALL):
        source, name = block
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(source)
    (tmp_path / "my_mean" / "__init__.py").touch()
    (entry,) = re.findall(r"^my-mean = \"(\S+)\"$", TEXT, flags=re.MULTILINE)
    info = tmp_path / "my_mean-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-mean\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text(f"[lot]\nmy-mean = {entry}\n")
    return tmp_path


def test_the_plugin_of_the_page_passes_the_kit(site: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lot_cli", "plugins", "check", "running_mean"],
        env={**os.environ, "PYTHONPATH": str(site)},
        cwd=site,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "causal" in done.stdout


def test_every_hook_and_its_kind_is_in_the_table() -> None:
    table = re.findall(r"^\| `(lot_\w+)` \|", TEXT, flags=re.MULTILINE)
    assert table == list(HOOKS.values())


def test_the_signals_are_those_of_the_core() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (trunk|embedding|attention) \| (.+?) \| (.+) \|$", TEXT, flags=re.MULTILINE)
    expected = [
        (s.name, s.source, " or ".join(f"({', '.join(shape)})" for shape in s.shapes), s.meaning)
        for s in SIGNALS.values()
    ]
    assert rows == expected
