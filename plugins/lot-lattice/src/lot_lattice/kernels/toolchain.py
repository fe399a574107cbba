"""What compiles the kernels on this machine: compilers, flags, and the recipe of each library."""

from __future__ import annotations

import functools
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

Name = Literal["baseline", "avx2", "avx512", "float64", "cuda", "emulated"]
"""Libraries: float32 for one instruction set of the processor, float64 for any, CUDA, and the device emulated for tests."""

CXX_FLAGS = ("-std=c++20", "-O2", "-fPIC", "-fvisibility=hidden", "-ffp-contract=fast", "-Wno-psabi")
NVCC_FLAGS = ("-std=c++20", "-O3", "-Xcompiler=-fPIC,-fvisibility=hidden", "-DLOT_TARGET=device")
LEVELS: dict[Name, tuple[str, ...]] = {
    "baseline": (),
    "avx2": ("-mavx2", "-mfma"),
    "avx512": ("-mavx2", "-mfma", "-mavx512f", "-mavx512dq", "-mavx512vl", "-mavx512bw"),
}
"""Instruction sets, the least first. The first is what the compiler always emits, on other processors than x86 the only one."""
CUDA_ARCHITECTURES = ("80", "90", "100")
TORCH_TARGET = "-DTORCH_TARGET_VERSION=0x020a000000000000"  # the stable ABI of torch 2.10, which later versions keep


class BuildError(Exception):
    """Why a library is not there, in one line."""


@dataclass(frozen=True)
class Unit:
    """A source file and how it is compiled; `torch` says whether it includes torch's headers."""

    source: str
    object: str
    compiler: Literal["cxx", "nvcc"]
    flags: tuple[str, ...]
    torch: bool = False


@dataclass(frozen=True)
class Recipe:
    """All that decides what a library becomes. `compilers`: paths; the last one links. `versions`: what they say of themselves."""

    name: Name
    units: tuple[Unit, ...]
    link: tuple[str, ...]
    compilers: dict[str, str]
    versions: tuple[str, ...]


def torch_headers() -> str:
    """The directory of torch's C++ headers."""
    return str(Path(torch.__file__).parent / "include")


def torch_libraries() -> str:
    """The directory of torch's libraries."""
    return str(Path(torch.__file__).parent / "lib")


def cxx() -> str | None:
    """The C++ compiler: CXX, or the first of c++, g++ and clang++ that is installed."""
    if own := os.environ.get("CXX"):
        return shutil.which(own)
    return next((path for name in ("c++", "g++", "clang++") if (path := shutil.which(name))), None)


def levels() -> tuple[Name, ...]:
    """The instruction sets of LEVELS that this processor has, the best last; as torch sees it, ATEN_CPU_CAPABILITY included."""
    names = tuple(LEVELS)
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return names[:1]
    capability = torch.backends.cpu.get_cpu_capability()  # torch asks for the very instructions that LEVELS lists
    return names[: 3 if capability.startswith("AVX512") else 2 if capability.startswith("AVX2") else 1]


def nvcc() -> str | None:
    """The CUDA compiler: that of CUDA_HOME, the one in PATH, or the one in its usual place."""
    if home := os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH"):
        return shutil.which(f"{home}/bin/nvcc")
    return shutil.which("nvcc") or shutil.which("/usr/local/cuda/bin/nvcc")


def cuda_architectures(compiler: str) -> tuple[str, ...]:
    """Architectures to compile for, as nvcc counts them ("90").

    TORCH_CUDA_ARCH_LIST ("8.0;9.0+PTX") decides, else the devices of this machine, else those of `CUDA_ARCHITECTURES`
    that `compiler` knows.
    """
    if listed := os.environ.get("TORCH_CUDA_ARCH_LIST"):
        names = listed.replace("+PTX", "").replace(";", " ").replace(",", " ").split()
        return tuple(dict.fromkeys(name.replace(".", "") for name in names))
    if torch.cuda.is_available():
        found = {torch.cuda.get_device_capability(n) for n in range(torch.cuda.device_count())}
        return tuple(f"{major}{minor}" for major, minor in sorted(found))
    known = output(compiler, "--list-gpu-code")
    return tuple(arch for arch in CUDA_ARCHITECTURES if f"sm_{arch}" in known)


def recipe(name: Name) -> Recipe:
    """How the library `name` is built here. Raises BuildError when a compiler is missing."""
    if sys.platform == "win32":
        raise BuildError("kernels are built on Linux and macOS only")
    compiler = cxx()
    if compiler is None:
        raise BuildError("no C++ compiler found (install g++ or clang++, or set CXX)")
    compilers = {"cxx": compiler}
    # Through libtorch, and only through it, is the CUDA part of torch found; a linker drops what it sees no use of.
    keep: tuple[str, ...] = () if sys.platform == "darwin" else ("-Wl,--no-as-needed",)
    if name == "cuda":
        device_compiler = nvcc()
        if device_compiler is None:
            raise BuildError("no nvcc found (install the CUDA toolkit, or set CUDA_HOME)")
        compilers["nvcc"] = device_compiler
        keep = ("-cudart=static", f"-ccbin={compiler}", "-Xlinker=--no-as-needed")
        flags = (*NVCC_FLAGS, f"-ccbin={compiler}", *_generate(device_compiler))
        binding = Unit("cuda_binding.cpp", "binding.o", "cxx", (*CXX_FLAGS, TORCH_TARGET), torch=True)
        units = [Unit("cuda_kernels.cu", "kernels.o", "nvcc", flags), binding]
    elif name == "emulated":
        flags = (*CXX_FLAGS, "-O1", "-DLOT_TARGET=emulated", TORCH_TARGET)
        units = [Unit("emulator.cpp", "emulator.o", "cxx", flags, torch=True)]
    else:
        # Float64 is for checking: one instruction set is enough.
        flags = (*CXX_FLAGS, f"-DLOT_TARGET={name}", f"-DLOT_REAL={'double' if name == 'float64' else 'float'}")
        own = (f"-DLOT_LIBRARY=lot_lattice_{name}", TORCH_TARGET)
        binding = Unit("cpu_binding.cpp", "binding.o", "cxx", (*flags, *own), torch=True)
        # At -O3 the mean field takes a fifth less time than at -O2, and the compiler four seconds more.
        units = [Unit("cpu_kernels.cpp", "kernels.o", "cxx", (*flags, "-O3", *LEVELS.get(name, ()))), binding]
    versions = tuple(f"{path}: {output(path, '--version')}" for path in compilers.values())
    return Recipe(name, tuple(units), ("-shared", *keep), compilers, versions)


def _generate(compiler: str) -> list[str]:
    """Flags for machine code of each architecture, and PTX of the last for those that come after it."""
    targets = cuda_architectures(compiler)
    if not targets:
        raise BuildError(f"{compiler} knows none of the architectures {', '.join(CUDA_ARCHITECTURES)}")
    code = [f"-gencode=arch=compute_{arch},code=sm_{arch}" for arch in targets]
    return [*code, f"-gencode=arch=compute_{targets[-1]},code=compute_{targets[-1]}"]


@functools.cache
def output(*command: str) -> str:
    """What a command writes to its standard output."""
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
