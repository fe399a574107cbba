"""Fixtures: the command line in this process, and plugins made by hand."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from lot.plugins.registry import registry
from lot_cli.main import main


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


Lot = Callable[..., Done]


@pytest.fixture
def lot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Lot:
    """Runs `lot ARGUMENTS` in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")

    def run(*arguments: str) -> Done:
        capsys.readouterr()
        code = main(list(arguments))
        return Done(code, *capsys.readouterr())

    return run


CALM = """
import attrs
from lot import Component, hookimpl, option

@attrs.frozen(kw_only=True)
class CalmConfig:
    strength: float = option(0.5, ge=0, lt=2, help="how calm")
    shape: tuple[int, ...] = option((2, 4), ge=1, help="sizes")
    seed: int = option(help="which draw")

@hookimpl
def lot_attentions():
    return [Component(name="calm", summary="Calm attention.", factory="nowhere:Calm", emits={"phase"}, watch=("stir",),
                      reference="A book", notes=("Published without a mask.", "Here with one."), config=CalmConfig)]

@hookimpl
def lot_losses():
    return [Component(name="calm", summary="Calm loss.", factory="nowhere:CalmLoss", needs={"phase", "storm"},
                      replaces={"cross_entropy"}, weight=0.25)]

@hookimpl
def lot_diagnostics():
    return [Component(name="stir", summary="How stirred.", factory="nowhere:Stir", every=7)]
"""


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Three distributions, and nothing else, as what is installed: the core, `lot-calm`, and `lot-storm`, which is broken."""
    folder = tmp_path_factory.mktemp("site")
    install(folder, "lot-core", "0.1.0", "core = lot.builtin.plugin")
    install(folder, "lot-calm", "1.2", "calm = plug_calm.plugin")
    install(folder, "lot-storm", "0.3", "storm = plug_storm")
    (folder / "plug_calm").mkdir()
    (folder / "plug_calm" / "__init__.py").write_text("")
    (folder / "plug_calm" / "plugin.py").write_text(CALM)
    (folder / "plug_storm.py").write_text("import nowhere_at_all")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(registry(), "_path", [str(folder)])
    monkeypatch.setattr(registry(), "_plugins", None)
    yield folder
    for module in [name for name in sys.modules if name.startswith("plug_")]:
        del sys.modules[module]


def install(folder: Path, name: str, version: str, entry_point: str) -> None:
    """Write the metadata that pip would leave for a distribution with one plugin."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "entry_points.txt").write_text(f"[lot]\n{entry_point}\n")
