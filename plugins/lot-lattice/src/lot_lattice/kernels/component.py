"""The kernels as the framework sees them: `lot plugins build lattice`, and the environment report."""

from __future__ import annotations

import os
import time
from typing import Any

import torch

from lot import Kernel, RunFailed
from lot_lattice.kernels import toolchain
from lot_lattice.kernels.build import built, library
from lot_lattice.kernels.dispatch import kernels, library_for, mode


class LatticeKernels(Kernel):
    """Lattice scan and mean field for this machine's processor and, where there is one, for its CUDA devices."""

    def __init__(self, config: Any = None) -> None:
        self.config = config

    def build(self) -> str:
        """Compile what is not in the cache yet; one line that says what there is now. Raises RunFailed without a compiler.

        For CUDA devices: where there is one, or where TORCH_CUDA_ARCH_LIST asks for it (on the login node of a cluster, say).
        """
        begin = time.perf_counter()
        done = []
        names: tuple[toolchain.Name, ...] = (toolchain.levels()[-1], "cuda")
        for name in names:
            if name == "cuda" and not (torch.cuda.is_available() or os.environ.get("TORCH_CUDA_ARCH_LIST")):
                done.append("cuda: not built, no GPU here; TORCH_CUDA_ARCH_LIST=9.0 builds for one all the same")
                continue
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
        forms = [self._form(toolchain.levels()[-1])]
        if torch.cuda.is_available() or built("cuda") is not None:
            forms.append(self._form("cuda"))
        runs = {
            "off": "PyTorch runs (LOT_KERNELS=off)",
            "auto": "compiled kernels run where they are built or can be built on first use (LOT_KERNELS=auto)",
            "require": "compiled kernels run (LOT_KERNELS=require)",
        }[wanted]
        return f"{', '.join(forms)}; {runs}"

    def form(self, device: torch.device) -> str:
        """The library whose operators take float32 on `device`, or PyTorch."""
        like = torch.empty(0, device=device)
        return "PyTorch" if kernels(like) is None else str(library_for(like))

    @staticmethod
    def _form(name: toolchain.Name) -> str:
        return f"{name} {'not built' if built(name) is None else 'built'}"
