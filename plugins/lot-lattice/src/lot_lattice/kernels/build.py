"""The libraries of compiled kernels as files: built with ninja when they are first needed, kept in a cache.

    LOT_CACHE, or XDG_CACHE_HOME/lot, or ~/.cache/lot
        kernels/avx2-<sources, torch, architecture>-<compilers, flags>/lot_lattice_avx2.so

A library says in its name what a processor must have to run it, so machines may share a cache, and a machine compiles
what it needs only. Processes that need a library at the same time wait for the one that builds it; it appears whole or
not at all. Its checksum lies beside it, and the cache belongs to one user (`private.py`).
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import platform
import shlex
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path

import filelock
import torch

from lot import cache_folder
from lot_lattice.kernels.private import is_whole, make_private, problem_of, write_digest
from lot_lattice.kernels.toolchain import BuildError, Name, Recipe, recipe, torch_headers, torch_libraries

SOURCES = Path(__file__).parent.parent / "csrc"
LOCK_TIMEOUT = 600.0
"""Seconds to wait for another process that builds."""
STILL_AT_IT = 15.0
"""Seconds between two lines about a build that goes on."""
_logger = logging.getLogger("lot_lattice")


def cache_directory() -> Path:
    """Where libraries are kept: `kernels` in the cache folder of LOT. It may not exist yet."""
    return cache_folder() / "kernels"


def built(name: Name) -> Path | None:
    """The file of the library `name` in the cache, or None where there is none, a damaged one or a cache of other users.

    Without a compiler, what any other compiler made of the same sources for the same torch will do.
    """
    cache = cache_directory().resolve()
    if not cache.is_dir() or problem_of(cache) is not None:
        return None
    try:
        found = [_directory(recipe(name), cache) / _file(name)]
    except BuildError:
        found = sorted(cache.glob(f"{_stem(name)}-*/{_file(name)}"), reverse=True)
    return next((path for path in found if _is_ours(path)), None)


def library(name: Name) -> Path:
    """The file of the library `name`, built now when it is not in the cache, or damaged there.

    Raises BuildError when it cannot be built, or when other users can write to the cache.
    """
    if found := built(name):
        return found
    target = cache_directory()
    try:
        cache = make_private(target)
        plan = recipe(name)
        target = _directory(plan, cache)
        with filelock.FileLock(f"{target}.lock", timeout=LOCK_TIMEOUT):
            if not _is_ours(target / _file(name)):
                _build(plan, target)
    except filelock.Timeout:
        raise BuildError(f"another process has been building {target} for {LOCK_TIMEOUT:.0f} s") from None
    except OSError as error:
        raise BuildError(
            f"cannot write {target} ({error.strerror}); set LOT_CACHE to a directory that can be written"
        ) from error
    return target / _file(name)


def ninja_file(plan: Recipe) -> str:
    """The build of `plan` as ninja reads it."""
    blocks = [
        f"rule {name}\n  command = {_words([path])} $flags -c $in -o $out" for name, path in plan.compilers.items()
    ]
    linker = list(plan.compilers.values())[-1]
    libraries = (f"-L{torch_libraries()}", "-ltorch_cpu", "-ltorch")
    blocks.append(f"rule link\n  command = {_words([linker])} $in -o $out {_words((*plan.link, *libraries))}")
    for unit in plan.units:
        flags = _words((*unit.flags, *((f"-I{torch_headers()}",) if unit.torch else ())))
        source = str(SOURCES / unit.source).replace("$", "$$").replace(" ", "$ ").replace(":", "$:")
        blocks.append(f"build {unit.object}: {unit.compiler} {source}\n  flags = {flags}")
    blocks.append(f"build {_file(plan.name)}: link {' '.join(unit.object for unit in plan.units)}")
    return "\n\n".join(blocks) + "\n"


def _build(plan: Recipe, target: Path) -> None:
    """Compile in a folder beside `target`, then rename that folder, so that other processes see all of it or nothing."""
    ninja = shutil.which("ninja") or _packaged_ninja()
    if ninja is None:
        raise BuildError("no ninja found (pip install ninja)")
    _logger.warning(
        "lattice kernels: compiling for %s, once, for %s; they are kept in %s",
        plan.name,
        "about a minute" if plan.name == "cuda" else "some seconds",
        target.parent,
    )
    made = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{plan.name}-"))
    try:
        (made / "build.ninja").write_text(ninja_file(plan))
        code, said = _run([ninja, "-C", str(made)], plan.name)
        if code != 0:
            log = target.with_name(f"{target.name}.log")
            log.write_text(said)
            lines = said.splitlines() or ["ninja said nothing"]
            reason = next((line for line in lines if "error" in line.lower()), lines[-1])
            raise BuildError(f"the {plan.name} kernels did not compile: {reason.strip()[:200]} (all of it: {log})")
        for unit in plan.units:
            (made / unit.object).unlink()
        write_digest(made / _file(plan.name))
        (made / "compilers.txt").write_text("\n\n".join(plan.versions) + "\n")
        shutil.rmtree(target, ignore_errors=True)  # a directory of that name without the library, or with a damaged one
        made.rename(target)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _run(command: list[str], name: Name) -> tuple[int, str]:
    """The exit code of a build, and what it said; a line to the reader now and then, while it takes its time."""
    begin = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        while True:
            try:
                said, _ = process.communicate(timeout=STILL_AT_IT)
            except subprocess.TimeoutExpired:
                _logger.warning("lattice kernels: still compiling for %s, %.0f s", name, time.monotonic() - begin)
            except BaseException:  # an interruption: the compiler is not to go on alone
                process.kill()
                raise
            else:
                return process.returncode, said


def _is_ours(path: Path) -> bool:
    """Whether a library in the cache is whole, and in a folder of its own that nobody else can write."""
    return path.is_file() and path.resolve() == path and problem_of(path.parent) is None and is_whole(path)


def _directory(plan: Recipe, cache: Path) -> Path:
    made_by = _digest([plan.versions, [astuple(unit) for unit in plan.units], plan.link])
    return cache / f"{_stem(plan.name)}-{made_by}"


@functools.cache
def _stem(name: Name) -> str:
    """The part of a directory's name that no compiler changes."""
    sources = {
        path.name: path.read_text() for path in sorted(SOURCES.iterdir()) if path.suffix in (".h", ".cpp", ".cu")
    }
    return f"{name}-{_digest([sources, torch.__version__, platform.system(), platform.machine()])}"


def _file(name: Name) -> str:
    return f"lot_lattice_{name}.so"


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def _packaged_ninja() -> str | None:
    try:
        import ninja
    except ImportError:
        return None
    return shutil.which("ninja", path=ninja.BIN_DIR)


def _words(words: Sequence[str]) -> str:
    """Words of a command in a ninja file."""
    return shlex.join(words).replace("$", "$$")
