"""The plugin in `examples/` works as it is, and `docs/extending.md` shows its files as they are."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from support import ROOT

EXAMPLE = ROOT / "examples" / "lot-running-mean"
PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((EXAMPLE / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a process in which the example is installed, as pip would from its pyproject.toml; needs no network."""
    site = tmp_path_factory.mktemp("site")
    info = site / f"{PROJECT['name'].replace('-', '_')}-{PROJECT['version']}.dist-info"
    info.mkdir()
    needs = "".join(f"Requires-Dist: {requirement}\n" for requirement in PROJECT["dependencies"])
    header = f"Metadata-Version: 2.1\nName: {PROJECT['name']}\nVersion: {PROJECT['version']}\n"
    (info / "METADATA").write_text(header + needs)
    entries = "".join(f"{name} = {place}\n" for name, place in PROJECT["entry-points"]["lot"].items())
    (info / "entry_points.txt").write_text(f"[lot]\n{entries}")
    path = [str(site), str(EXAMPLE / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path), "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "100"}


def run(environment: dict[str, str], cwd: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """A Python process with the example."""
    return subprocess.run(
        [sys.executable, "-m", *command], env=environment, cwd=cwd, capture_output=True, text=True, check=False
    )


def test_it_passes_the_kit(environment: dict[str, str], tmp_path: Path) -> None:
    done = run(environment, tmp_path, "lot_cli", "plugins", "check", PROJECT["name"])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "running_mean  attention of lot-running-mean" in done.stdout
    assert "  ok    imports no torch" in done.stdout
    assert "causal" in done.stdout
    assert done.stdout.splitlines()[-1].endswith(" 0 failed")


def test_it_passes_its_own_tests(environment: dict[str, str]) -> None:
    done = run(environment, EXAMPLE, "pytest", "-q", "-p", "no:cacheprovider", "-k", "not kit")
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_shows_its_option(environment: dict[str, str], tmp_path: Path) -> None:
    done = run(environment, tmp_path, "lot_cli", "show", "running_mean")
    assert done.returncode == 0
    assert "options, as in --set attn.decay=0.9" in done.stdout


def test_it_has_the_files_of_a_package_that_the_command_writes(tmp_path: Path) -> None:
    done = run(dict(os.environ), tmp_path, "lot_cli", "plugins", "new", "lot-walking-mean")
    assert done.returncode == 0, done.stderr
    written = {str(path.relative_to(tmp_path / "lot-walking-mean")) for path in tmp_path.rglob("*") if path.is_file()}
    # A component is called as its package there, without `lot_` here; and this folder has no repository of its own.
    expected = {re.sub(r"lot_walking_mean(?=\.py|_reference\.py)", "walking_mean", name) for name in written}
    expected = {name.replace("walking", "running") for name in expected - {".gitignore", "noxfile.py"}}
    listed = (path.relative_to(EXAMPLE) for path in EXAMPLE.rglob("*") if path.is_file())
    # What tools leave behind is not of the package.
    own = {str(path) for path in listed if not any(part[0] == "." or part == "__pycache__" for part in path.parts)}
    assert own == expected


def test_the_page_shows_the_files_as_they_are() -> None:
    blocks = re.findall(r"^```python\n# (src/\S+)\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    shown = dict(blocks)
    assert set(shown) >= {f"src/lot_running_mean/{name}.py" for name in ("plugin", "config", "running_mean")}
    for name, source in shown.items():
        assert source == (EXAMPLE / name).read_text(encoding="utf-8"), name


def test_the_page_shows_the_entry_point_as_it_is() -> None:
    blocks = re.findall(r"^```toml\n(\[project\.entry-points\.lot\].*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    assert len(blocks) == 1
    assert blocks[0] in (EXAMPLE / "pyproject.toml").read_text(encoding="utf-8")
