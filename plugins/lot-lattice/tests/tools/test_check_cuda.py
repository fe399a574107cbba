"""The check of registers: how it reads the report of ptxas, and what its exit code says."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from lot_lattice.kernels import toolchain

FILE = Path(__file__).parents[2] / "tools" / "check_cuda.py"


@pytest.fixture(scope="module")
def check_cuda() -> ModuleType:
    """The tool as a module: it belongs to no package."""
    spec = importlib.util.spec_from_file_location("check_cuda", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["check_cuda"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


REPORT = """
ptxas info    : Compiling entry function '_Z4scanf' for 'sm_90'
ptxas info    : Function properties for _Z4scanf
    {stack} bytes stack frame, {stores} bytes spill stores, {loads} bytes spill loads
ptxas info    : Used 71 registers, used 0 barriers, 392 bytes cmem[0]
ptxas info    : Compiling entry function 'plain' for 'sm_80'
ptxas info    : Function properties for plain
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 24 registers, 360 bytes cmem[0]
"""


def test_the_report_of_ptxas_is_read(check_cuda) -> None:
    first, second = check_cuda.usage(REPORT.format(stack=16, stores=8, loads=4))
    assert (first.arch, first.registers, first.stack, first.spilled) == ("sm_90", 71, 16, 12)
    assert (second.kernel, second.arch, second.registers, second.spilled) == ("plain", "sm_80", 24, 0)


@pytest.mark.parametrize(("stores", "loads", "code"), [(0, 0, 0), (8, 0, 1), (0, 4, 1)])
def test_a_spill_fails_the_check(check_cuda, monkeypatch, capsys, stores, loads, code) -> None:
    found = check_cuda.usage(REPORT.format(stack=0, stores=stores, loads=loads))
    monkeypatch.setattr(toolchain, "nvcc", lambda: "nvcc")
    monkeypatch.setattr(toolchain, "output", lambda *_: "sm_80\nsm_90")
    monkeypatch.setattr(check_cuda, "compile_for", lambda _compiler, _archs: found)
    assert check_cuda.main(["--arch", "80,90"]) == code
    assert f"2 kernels, {code} spill registers" in capsys.readouterr().out


def test_an_architecture_without_kernels_fails_the_check(check_cuda, monkeypatch, capsys) -> None:
    monkeypatch.setattr(toolchain, "nvcc", lambda: "nvcc")
    monkeypatch.setattr(toolchain, "output", lambda *_: "")
    monkeypatch.setattr(check_cuda, "compile_for", lambda _compiler, _archs: [])
    assert check_cuda.main(["--arch", "90"]) == 1
    assert "no kernels for 90" in capsys.readouterr().err


def test_without_nvcc_the_check_says_so(check_cuda, monkeypatch, capsys) -> None:
    monkeypatch.setattr(toolchain, "nvcc", lambda: None)
    assert check_cuda.main([]) == 2
    assert "no nvcc found" in capsys.readouterr().err
