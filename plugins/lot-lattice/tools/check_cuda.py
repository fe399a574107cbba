"""Compile the kernels for CUDA and fail when registers spill, which would make them slow without any other sign.

    python plugins/lot-lattice/tools/check_cuda.py --arch 80,90

It needs nvcc, and no GPU. Without `--arch` it takes those of `toolchain.CUDA_ARCHITECTURES` that nvcc knows.
Exit code 0: no kernel spills; 1: one does, or does not compile; 2: there is no nvcc.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lot_lattice.kernels import toolchain
from lot_lattice.kernels.build import SOURCES

_ENTRY = re.compile(
    r"Compiling entry function '(?P<symbol>\S+)' for '(?P<arch>\S+)'"
    r".*?(?P<stack>\d+) bytes stack frame, (?P<stores>\d+) bytes spill stores, (?P<loads>\d+) bytes spill loads"
    r".*?Used (?P<registers>\d+) registers",
    re.DOTALL,
)


@dataclass(frozen=True)
class Usage:
    """What ptxas says about a kernel on one architecture. Stack and spills in bytes per thread."""

    kernel: str
    arch: str
    registers: int
    stack: int
    spilled: int


def usage(report: str) -> list[Usage]:
    """The kernels in a report of `ptxas -v`."""
    return [
        Usage(
            kernel=_readable(match["symbol"]),
            arch=match["arch"],
            registers=int(match["registers"]),
            stack=int(match["stack"]),
            spilled=int(match["stores"]) + int(match["loads"]),
        )
        for match in _ENTRY.finditer(report)
    ]


def compile_for(compiler: str, archs: Sequence[str]) -> list[Usage]:
    """Compile the kernels for each architecture ("90"). Raises BuildError with nvcc's first error."""
    code = [f"-gencode=arch=compute_{arch},code=sm_{arch}" for arch in archs]
    with tempfile.TemporaryDirectory() as folder:
        command = [compiler, *toolchain.NVCC_FLAGS, *code, "-Xptxas=-v", "-c", str(SOURCES / "cuda_kernels.cu")]
        done = subprocess.run(
            [*command, "-o", str(Path(folder) / "kernels.o")], capture_output=True, text=True, check=False
        )
    said = done.stdout + done.stderr
    if done.returncode != 0:
        lines = said.splitlines() or ["nvcc said nothing"]
        raise toolchain.BuildError(next((line for line in lines if "error" in line.lower()), lines[-1]).strip())
    return usage(said)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print registers and spills of every kernel; the exit code says whether all is well."""
    parser = argparse.ArgumentParser(description="compile the kernels for CUDA and fail when registers spill")
    parser.add_argument("--arch", help="architectures as nvcc counts them, with commas between: 80,90")
    options = parser.parse_args(arguments)
    compiler = toolchain.nvcc()
    if compiler is None:
        print("no nvcc found (install the CUDA toolkit, or set CUDA_HOME)", file=sys.stderr)
        return 2
    known = toolchain.output(compiler, "--list-gpu-code")
    archs = options.arch.split(",") if options.arch else [a for a in toolchain.CUDA_ARCHITECTURES if f"sm_{a}" in known]
    try:
        found = compile_for(compiler, archs)
    except toolchain.BuildError as error:
        print(error, file=sys.stderr)
        return 1
    for kernel in sorted(found, key=lambda entry: (entry.arch, entry.kernel)):
        memory = f"{kernel.stack:4} B stack {kernel.spilled:4} B spilled"
        print(f"{kernel.arch:7} {kernel.kernel:28} {kernel.registers:4} registers {memory}")
    spilling = [kernel for kernel in found if kernel.spilled]
    missing = [arch for arch in archs if not any(kernel.arch == f"sm_{arch}" for kernel in found)]
    if missing:
        print(f"ptxas reported no kernels for {', '.join(missing)}", file=sys.stderr)
    print(f"{len(found)} kernels, {len(spilling)} spill registers")
    return 1 if spilling or missing else 0


def _readable(symbol: str) -> str:
    """`scan_forward<float, 16>` of a mangled name, as far as c++filt is there to read it."""
    if shutil.which("c++filt") is None:
        return symbol
    name = subprocess.run(["c++filt", symbol], capture_output=True, text=True, check=False).stdout
    match = re.search(r"(\w+<[^()]*>)\(", name)
    return match[1] if match else symbol


if __name__ == "__main__":
    sys.exit(main())
