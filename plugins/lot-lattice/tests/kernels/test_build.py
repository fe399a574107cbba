"""Building, caching and choosing: what happens with a compiler, without one, and with several processes at once."""

from __future__ import annotations

import functools
import logging
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lot import BadInput, RunFailed
from lot_lattice.kernels import build, dispatch as native, lattice_scan, mean_field, private, toolchain
from lot_lattice.kernels.component import LatticeKernels
from lot_lattice.kernels.toolchain import BuildError, Recipe, Unit
from lot_lattice.ops.dynamics import lattice_scan_eager, mean_field_eager

needs_compiler = pytest.mark.skipif(toolchain.cxx() is None, reason="there is no C++ compiler")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("LOT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "kernels"


@pytest.fixture
def fresh(monkeypatch) -> None:
    """What is loaded, and what was said, not known here; known again afterwards, for torch would not survive a second load."""
    for name in ("_load_once", "say_once"):
        monkeypatch.setattr(native, name, functools.cache(getattr(native, name).__wrapped__))


@pytest.fixture
def no_compiler(tmp_path, monkeypatch, fresh) -> None:
    """A machine on which nothing can be compiled, and whose cache is empty."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))


@pytest.fixture
def tiny(tmp_path, monkeypatch) -> Path:
    """Sources that compile in no time, in place of the kernels; the file that logs each run of the compiler."""
    sources = tmp_path / "sources"
    sources.mkdir()
    (sources / "tiny.cpp").write_text("int answer() { return 42; }\n")
    log, wrapper = tmp_path / "runs.log", tmp_path / "logging-c++"
    wrapper.write_text(f'#!/bin/sh\necho "$@" >> "{log}"\nexec "{toolchain.cxx()}" "$@"\n')
    wrapper.chmod(0o755)

    def recipe(name: toolchain.Name) -> Recipe:
        flags = ("-fPIC", "-DNAME=two words $HOME")
        return Recipe(name, (Unit("tiny.cpp", "tiny.o", "cxx", flags),), ("-shared",), {"cxx": str(wrapper)}, ("1",))

    monkeypatch.setattr(build, "SOURCES", sources)
    monkeypatch.setattr(build, "recipe", recipe)
    build._stem.cache_clear()
    yield log
    build._stem.cache_clear()


def compilations(log: Path) -> int:
    return sum(" -c " in f" {line} " for line in log.read_text().splitlines()) if log.exists() else 0


# ------------------------------------------------------------------------------------------------- the cache


@needs_compiler
def test_a_library_is_built_once_and_found_again(tiny, own_cache, caplog) -> None:
    assert build.built("avx2") is None
    path = build.library("avx2")
    assert path == build.built("avx2") == build.library("avx2")
    assert path.parent.parent == own_cache
    assert compilations(tiny) == 1
    assert caplog.messages == [
        f"lattice kernels: compiling for avx2, once, for some seconds; they are kept in {own_cache}"
    ]


@needs_compiler
def test_other_sources_another_compiler_or_other_flags_are_another_library(tiny, monkeypatch) -> None:
    first, recipe = build.library("avx2"), build.recipe("avx2")
    changed = [
        Recipe(recipe.name, recipe.units, recipe.link, recipe.compilers, ("2",)),
        Recipe(recipe.name, recipe.units, (*recipe.link, "-s"), recipe.compilers, recipe.versions),
        Recipe(
            recipe.name,
            (Unit("tiny.cpp", "tiny.o", "cxx", ("-fPIC",)),),
            recipe.link,
            recipe.compilers,
            recipe.versions,
        ),
    ]
    for other in changed:
        monkeypatch.setattr(build, "recipe", lambda _name, other=other: other)
        assert build.built("avx2") is None
    monkeypatch.setattr(build, "recipe", lambda _name: recipe)
    assert build.built("avx2") == first
    (build.SOURCES / "tiny.cpp").write_text("int answer() { return 43; }\n")
    build._stem.cache_clear()
    assert build.built("avx2") is None


@needs_compiler
def test_processes_that_start_together_build_once(tiny, own_cache) -> None:
    together = [multiprocessing.get_context("fork").Process(target=build.library, args=("avx2",)) for _ in range(4)]
    for process in together:
        process.start()
    for process in together:
        process.join()
    assert [process.exitcode for process in together] == [0, 0, 0, 0]
    assert build.built("avx2") is not None
    assert compilations(tiny) == 1
    assert [path.name for path in own_cache.iterdir() if path.name.startswith(".")] == []


@needs_compiler
def test_a_build_that_was_killed_leaves_nothing_in_the_way(tiny, own_cache) -> None:
    path = build.library("avx2")
    path.unlink()  # as if the directory had appeared without its library
    assert build.built("avx2") is None
    assert build.library("avx2") == path
    assert path.exists()


posix = pytest.mark.skipif(os.name != "posix", reason="owners and modes of files")


@needs_compiler
@pytest.mark.parametrize("damage", ["cut", "flipped", "no checksum"])
def test_a_damaged_library_is_built_again_and_never_loaded(tiny, damage) -> None:
    path = build.library("avx2")
    whole = path.read_bytes()
    if damage == "no checksum":
        path.with_name(f"{path.name}.sha256").unlink()
    else:
        path.write_bytes(whole[: len(whole) // 2] if damage == "cut" else b"\x00" + whole[1:])
    assert build.built("avx2") is None
    assert build.library("avx2") == path
    assert path.read_bytes() == whole
    assert compilations(tiny) == 2


@posix
@needs_compiler
def test_a_cache_that_others_can_write_is_refused_in_one_line(tiny, own_cache) -> None:
    path = build.library("avx2")
    for folder in (own_cache.parent, own_cache, path.parent):
        folder.chmod(0o777)
        assert build.built("avx2") is None
        if folder != path.parent:  # that one is made anew
            with pytest.raises(BuildError, match=f"nothing is loaded from {folder}, which can be written") as caught:
                build.library("avx2")
            assert "\n" not in str(caught.value)
        folder.chmod(0o755)
    assert build.library("avx2") == path


@posix
@needs_compiler
@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only the superuser gives files away")
def test_a_cache_of_another_user_is_refused(tiny, own_cache) -> None:
    build.library("avx2")
    os.chown(own_cache, 12345, -1)
    assert build.built("avx2") is None
    with pytest.raises(BuildError, match=f"{own_cache}, which belongs to user 12345; set LOT_CACHE"):
        build.library("avx2")


@posix
def test_folders_that_only_this_user_can_write(tmp_path) -> None:
    fresh = private.make_private(tmp_path / "a" / "b")
    assert [path.stat().st_mode & 0o777 for path in (fresh, fresh.parent)] == [0o700, 0o700]
    fresh.parent.chmod(0o1777)  # as /tmp is: what lies in it is safe, the folder itself is not
    assert private.problem_of(fresh) is None
    assert "can be written by other users" in private.problem_of(fresh.parent)
    (tmp_path / "link").symlink_to(fresh)
    assert private.make_private(tmp_path / "link") == fresh


@posix
@needs_compiler
def test_a_planted_library_is_not_loaded(tiny, own_cache, tmp_path) -> None:
    path = build.library("avx2")
    planted = tmp_path / "planted"
    path.parent.rename(planted)
    path.parent.symlink_to(planted)  # a folder elsewhere, that may be anybody's
    assert build.built("avx2") is None


@needs_compiler
def test_sources_that_do_not_compile_are_told_in_one_line(tiny, own_cache) -> None:
    (build.SOURCES / "tiny.cpp").write_text("int answer( { return 42; }\n")
    with pytest.raises(BuildError, match=r"the avx2 kernels did not compile: .*error.*all of it: .*\.log") as caught:
        build.library("avx2")
    assert "\n" not in str(caught.value)
    log = Path(str(caught.value).split("all of it: ")[1].rstrip(")"))
    assert "error" in log.read_text()
    assert build.built("avx2") is None


@needs_compiler
def test_a_cache_that_cannot_be_written_is_told_in_one_line(tiny, tmp_path, monkeypatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("LOT_CACHE", str(tmp_path / "file"))
    with pytest.raises(BuildError, match=r"cannot write .*; set LOT_CACHE to a directory that can be written"):
        build.library("avx2")


@needs_compiler
def test_without_a_compiler_a_library_that_another_one_built_will_do(tiny, monkeypatch) -> None:
    path = build.library("avx2")

    def no_recipe(name: toolchain.Name) -> Recipe:
        raise BuildError("no C++ compiler found")

    monkeypatch.setattr(build, "recipe", no_recipe)
    assert build.built("avx2") == path
    assert build.built("cuda") is None


def test_the_cache_lies_where_the_environment_says(monkeypatch, tmp_path) -> None:
    assert build.cache_directory() == tmp_path / "cache" / "kernels"
    monkeypatch.delenv("LOT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert build.cache_directory() == tmp_path / "xdg" / "lot" / "kernels"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert build.cache_directory() == Path.home() / ".cache" / "lot" / "kernels"


@pytest.mark.parametrize(
    ("machine", "capability", "best"),
    [
        ("x86_64", "AVX512", "avx512"),
        ("AMD64", "AVX2", "avx2"),
        ("x86_64", "DEFAULT", "baseline"),
        ("aarch64", "SVE256", "baseline"),
    ],
)
def test_the_instruction_set_is_the_one_that_torch_runs_with(monkeypatch, machine, capability, best) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr("torch.backends.cpu.get_cpu_capability", lambda: capability)
    assert toolchain.levels()[-1] == best


@needs_compiler
def test_a_library_is_compiled_for_the_instruction_set_in_its_name_and_no_other() -> None:
    flags = {name: toolchain.recipe(name).units[0].flags for name in ("baseline", "avx2", "avx512", "float64")}
    wide = {name: {flag for flag in given if flag.startswith("-m")} for name, given in flags.items()}
    assert wide["baseline"] == wide["float64"] == set()
    assert wide["avx2"] == {"-mavx2", "-mfma"} < wide["avx512"]


def test_architectures_come_from_the_environment_in_torchs_own_notation(monkeypatch) -> None:
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", "8.0;9.0+PTX 10.0")
    assert toolchain.cuda_architectures("nvcc") == ("80", "90", "100")


# --------------------------------------------------------------------------------------------- which form runs


def test_without_a_compiler_pytorch_computes_and_says_so_once(no_compiler, make, caplog, monkeypatch) -> None:
    monkeypatch.setenv("LOT_KERNELS", "auto")
    scan = [make.normal(2, 3, 9), make.normal(3), make.normal(3), make.normal(3, 3), make.normal(3)]
    field = [make.normal(2, 3, 9, 2), make.normal(3, 2), make.normal(3)]
    with caplog.at_level(logging.WARNING, logger="lot_lattice"):
        for _ in range(2):
            assert torch.allclose(lattice_scan(*scan, 0.1), lattice_scan_eager(*scan, 0.1))
            assert torch.allclose(mean_field(*field, 0.1, 3), mean_field_eager(*field, 0.1, 3))
    assert len(caplog.messages) == 1
    assert "no C++ compiler found" in caplog.messages[0]
    assert "on cpu PyTorch does their work" in caplog.messages[0]
    assert "\n" not in caplog.messages[0]


def test_off_is_silent(no_compiler, make, caplog, monkeypatch) -> None:
    monkeypatch.setenv("LOT_KERNELS", "off")
    with caplog.at_level(logging.WARNING, logger="lot_lattice"):
        mean_field(make.normal(1, 1, 3, 1), make.normal(1, 1), make.normal(1), 0.1, 2)
    assert caplog.messages == []


def test_require_refuses_to_go_on_without(no_compiler, make, monkeypatch) -> None:
    monkeypatch.setenv("LOT_KERNELS", "require")
    with pytest.raises(RunFailed, match=r"LOT_KERNELS=require, but .* for cpu: no C\+\+ compiler found"):
        mean_field(make.normal(1, 1, 3, 1), make.normal(1, 1), make.normal(1), 0.1, 2)


def test_a_value_that_means_nothing_is_refused(make, monkeypatch) -> None:
    monkeypatch.setenv("LOT_KERNELS", "fast")
    with pytest.raises(BadInput, match="LOT_KERNELS: expected auto, off or require, got fast"):
        mean_field(make.normal(1, 1, 3, 1), make.normal(1, 1), make.normal(1), 0.1, 2)


def test_a_device_that_cannot_run_the_kernels_is_told_and_done_without(fresh, make, caplog, monkeypatch) -> None:
    def launch(loaded: object, device: torch.device) -> None:
        raise RuntimeError("no kernel image is available for execution on the device\nand more")

    monkeypatch.setattr(native, "library", lambda name: Path("kernels.so"))
    monkeypatch.setattr(native, "library_for", lambda tensor: "cuda")
    monkeypatch.setattr(native, "_try_out", launch)
    monkeypatch.setattr(torch.ops, "load_library", lambda path: None)
    with caplog.at_level(logging.WARNING, logger="lot_lattice"):
        assert native.kernels(torch.zeros(1)) is None
    assert "kernels.so does not run on cpu (no kernel image is available for execution on the device);" in caplog.text
    monkeypatch.setenv("LOT_KERNELS", "require")
    with pytest.raises(RunFailed, match="does not run on cpu"):
        native.kernels(torch.zeros(1))


@needs_compiler
def test_a_library_that_does_not_load_is_told_and_done_without(tiny, fresh, make, caplog, monkeypatch) -> None:
    monkeypatch.setenv("LOT_KERNELS", "auto")
    library = build.library("float64")
    library.write_bytes(b"no library at all")
    private.write_digest(library)
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="lot_lattice"):
        mean_field(make.normal(1, 1, 3, 1), make.normal(1, 1), make.normal(1), 0.1, 2)
    assert len(caplog.messages) == 1
    assert "did not load" in caplog.messages[0]


def test_importing_the_operators_builds_nothing(tmp_path) -> None:
    environment = {**os.environ, "LOT_CACHE": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", "import lot_lattice.kernels"], env=environment, check=True)
    assert list(tmp_path.iterdir()) == []


# ----------------------------------------------------------------------------------- as a component of LOT


def test_the_component_says_that_nothing_is_built(monkeypatch) -> None:
    monkeypatch.setenv("LOT_KERNELS", "off")
    status = LatticeKernels().status()
    assert status.startswith(f"{toolchain.levels()[-1]} not built")
    assert "PyTorch runs" in status
    assert "\n" not in status


def test_the_component_refuses_to_build_without_a_compiler(no_compiler) -> None:
    with pytest.raises(RunFailed, match=r"no C\+\+ compiler found"):
        LatticeKernels().build()


@needs_compiler
def test_the_component_says_what_it_built(tiny, monkeypatch) -> None:
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", "9.0")
    monkeypatch.setattr(toolchain, "nvcc", lambda: None)
    said = LatticeKernels().build()
    assert str(build.built(toolchain.levels()[-1])) in said
    assert "cuda: not built, no nvcc found" in said
    assert "\n" not in said


@needs_compiler
def test_nothing_is_built_for_a_gpu_that_is_not_there(tiny, monkeypatch) -> None:
    monkeypatch.delenv("TORCH_CUDA_ARCH_LIST", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(toolchain, "nvcc", lambda: "/usr/bin/nvcc")
    assert "cuda: not built, no GPU here" in LatticeKernels().build()
    assert build.built("cuda") is None


@needs_compiler
def test_a_build_that_takes_its_time_says_so(tiny, monkeypatch, caplog) -> None:
    monkeypatch.setattr(build, "STILL_AT_IT", 0.001)
    build.library("avx2")
    assert any("still compiling for avx2" in message for message in caplog.messages)


@needs_compiler
def test_the_form_names_what_computes(monkeypatch) -> None:
    monkeypatch.delenv("LOT_CACHE")  # what other tests have built
    assert LatticeKernels().form(torch.device("cpu")) == toolchain.levels()[-1]
    monkeypatch.setenv("LOT_KERNELS", "off")
    assert LatticeKernels().form(torch.device("cpu")) == "PyTorch"


def test_the_form_without_a_compiler_is_pytorch_or_an_error(no_compiler, monkeypatch) -> None:
    assert LatticeKernels().form(torch.device("cpu")) == "PyTorch"
    monkeypatch.setenv("LOT_KERNELS", "require")
    with pytest.raises(RunFailed, match="LOT_KERNELS=require"):
        LatticeKernels().form(torch.device("cpu"))
