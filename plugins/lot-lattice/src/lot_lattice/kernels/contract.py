"""The kernels as the framework sees them: `lot plugins build lattice`, and the environment report."""

from __future__ import annotations

import time
from typing import Any

import torch

from lot.contracts import Kernel
from lot.errors import RunFailed
from lot_lattice.kernels import toolchain
from lot_lattice.kernels.build import built, library
from lot_lattice.kernels.native import mode

INSTRUCTION_SETS = ("baseline", "AVX2", "AVX-512")


class LatticeKernels(Kernel):
    """Lattice scan and mean field for this machine's processor and, where there is nvcc, for CUDA devices."""

    def __init__(self, config: Any = None) -> None:
        self.config = config

    def build(self) -> str:
        """Compile what is not in the cache yet; one line that says what there is now. Raises RunFailed without a compiler."""
        begin = time.perf_counter()
        done = []
        names: tuple[toolchain.Name, ...] = ("cpu", "cuda")
        for name in names:
            if name == "cuda" and toolchain.nvcc() is None:
                done.append("cuda: not built, no nvcc found")
                continue
            try:
                path = library(name)
            except toolchain.BuildError as error:
                raise RunFailed(f"lattice kernels: {error}") from error
            done.append(f"{name}: {path}")
        return f"{'; '.join(done)} ({time.perf_counter() - begin:.1f} s)"

    def status(self) -> str:
        """One line: for which devices there are compiled kernels, and which form runs now. Builds nothing."""
        wanted = mode()
        forms = [f"cpu {self._form('cpu')}"]
        if torch.cuda.is_available() or built("cuda") is not None:
            forms.append(f"cuda {self._form('cuda')}")
        runs = {
            "off": "PyTorch runs (LOT_KERNELS=off)",
            "auto": "compiled kernels run where they are built or can be built on first use (LOT_KERNELS=auto)",
            "require": "compiled kernels run (LOT_KERNELS=require)",
        }[wanted]
        return f"{', '.join(forms)}; {runs}"

    @staticmethod
    def _form(name: toolchain.Name) -> str:
        path = built(name)
        if path is None:
            return "not built"
        if name == "cuda":
            return "built"
        torch.ops.load_library(str(path))
        return f"built, runs with {INSTRUCTION_SETS[torch.ops.lot_lattice_cpu.instruction_set(-1)]}"
