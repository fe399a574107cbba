"""Fixtures of the tests that cross packages."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from support import Lot


@pytest.fixture
def lot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Lot:
    """The command line, in this process (importing torch anew for every call would take minutes) and an empty folder."""
    from lot_cli.main import main

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        capsys.readouterr()
        code = main(list(arguments))
        said = capsys.readouterr()
        return subprocess.CompletedProcess(list(arguments), code, said.out, said.err)

    return call
