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

from lot.errors import BadInput, RunFailed
from lot_lattice.kernels.build import library
from lot_lattice.kernels.toolchain import BuildError, Name

Mode = Literal["auto", "off", "require"]
_logger = logging.getLogger("lot_lattice")
_loading = threading.Lock()


def mode() -> Mode:
    """The value of LOT_KERNELS. Raises BadInput for one that means nothing."""
    value = os.environ.get("LOT_KERNELS", "auto")
    if value not in ("auto", "off", "require"):
        raise BadInput(where="LOT_KERNELS", expected="auto, off or require", got=value)
    return cast(Mode, value)


def kernels(device: torch.device) -> Any | None:
    """The compiled operators for tensors on `device`, built and loaded on first use; None where PyTorch does the work.

    Raises RunFailed with LOT_KERNELS=require when there are none.
    """
    wanted = mode()
    if wanted == "off":
        return None
    loaded, reason = _load(device.type)
    if loaded is None and wanted == "require":
        raise RunFailed(f"LOT_KERNELS=require, but there are no compiled kernels for {device.type}: {reason}")
    if loaded is None:
        _say_once(f"lattice kernels: {reason}; on {device.type} PyTorch does their work: the same result, slower")
    return loaded


def _load(device_type: str) -> tuple[Any | None, str]:
    with _loading:  # torch runs backward passes in threads of their own
        return _load_once(device_type)


@functools.cache
def _load_once(device_type: str) -> tuple[Any | None, str]:
    """The namespace of the operators for a type of device, or None and the reason."""
    if device_type not in ("cpu", "cuda"):
        return None, f"there are none for {device_type}"
    try:
        path = library(cast(Name, device_type))
    except (BuildError, OSError) as error:
        return None, str(error)
    try:
        torch.ops.load_library(str(path))
    except OSError as error:
        return None, f"{path} did not load ({str(error).splitlines()[0]})"
    return getattr(torch.ops, f"lot_lattice_{device_type}"), ""


@functools.cache
def _say_once(message: str) -> None:
    _logger.warning(message)
