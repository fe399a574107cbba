"""Which form of the kernels runs: the compiled one, or the one in PyTorch.

LOT_KERNELS decides: `auto` (the default) takes the compiled one where it can be built and says once where it cannot;
`off` takes the PyTorch form; `require` refuses to go on without the compiled one.
"""

from __future__ import annotations

import functools
import logging
import os
import threading
from typing import Any, Literal, cast

import torch
from torch import Tensor

from lot import BadInput, RunFailed
from lot_lattice.kernels import toolchain
from lot_lattice.kernels.build import library
from lot_lattice.kernels.toolchain import BuildError, Name

Mode = Literal["auto", "off", "require"]
_logger = logging.getLogger("lot_lattice")
_loading = threading.Lock()


def mode() -> Mode:
    """The value of LOT_KERNELS. Raises BadInput for one that means nothing."""
    value = os.environ.get("LOT_KERNELS", "auto")
    if value not in ("auto", "off", "require"):
        raise BadInput("environment variable LOT_KERNELS", expected="auto, off or require", got=value)
    return cast(Mode, value)


def kernels(tensor: Tensor) -> Any | None:
    """The compiled operators for tensors like `tensor`, built and loaded on first use; None where PyTorch does the work.

    Raises RunFailed with LOT_KERNELS=require when there are none.
    """
    wanted = mode()
    if wanted == "off":
        return None
    name = library_for(tensor)
    loaded, reason = (None, f"there are none for {tensor.device.type}") if name is None else _load(name, tensor.device)
    if loaded is None and wanted == "require":
        raise RunFailed(f"LOT_KERNELS=require, but there are no compiled kernels for {tensor.device.type}: {reason}")
    if loaded is None:
        say_once(f"lattice kernels: {reason}; on {tensor.device.type} PyTorch does their work: the same result, slower")
    return loaded


def library_for(tensor: Tensor) -> Name | None:
    """The library whose operators take tensors like `tensor`; None for a type of device that has none."""
    if tensor.is_cuda:
        return "cuda"
    if tensor.device.type != "cpu":
        return None
    return "float64" if tensor.dtype == torch.float64 else toolchain.levels()[-1]


def _load(name: Name, device: torch.device) -> tuple[Any | None, str]:
    with _loading:  # torch runs backward passes in threads of their own
        return _load_once(name, device)


@functools.cache
def _load_once(name: Name, device: torch.device) -> tuple[Any | None, str]:
    """The namespace of the operators of a library, or None and the reason."""
    try:
        path = library(name)
    except (BuildError, OSError) as error:
        return None, str(error)
    try:
        torch.ops.load_library(str(path))
    except OSError as error:
        return None, f"{path} did not load ({_first_line(error)})"
    loaded = getattr(torch.ops, f"lot_lattice_{name}")
    if name == "cuda":
        # A driver older than nvcc, or code for another architecture, shows at the first launch and not before.
        try:
            _try_out(loaded, device)
        except RuntimeError as error:
            return None, f"{path} does not run on {device} ({_first_line(error)})"
    return loaded, ""


def _try_out(loaded: Any, device: torch.device) -> None:
    """Launch the smallest scan. Raises RuntimeError where that fails."""
    one = torch.zeros(1, 1, 1, device=device)
    loaded.lattice_forward(one, one[0], one[0, 0], one[0], one[0], 0.1, torch.empty_like(one))


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


@functools.cache
def say_once(message: str) -> None:
    """Warn of something, once in a process."""
    _logger.warning(message)
