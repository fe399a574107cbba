"""Numbers keep their width: float64 stays float64, and autocast narrows nothing that has to be exact."""

from __future__ import annotations

import torch

from lot.testing.case import Case, call, output
from lot.testing.failure import require, require_finite

AUTOCAST_ERROR = 0.1
"""Root mean square of the error under bfloat16 autocast, relative to that of the output."""


def dtypes(case: Case) -> None:
    """float32 gives float32 and float64 gives float64; bfloat16 autocast stays near float32, with phases kept wide."""
    T = min(24, case.dims.max_len)
    for dtype in (torch.float32, torch.float64):
        module = case.module(dtype=dtype)
        y = output(module, case.inputs(2, T, dtype=dtype), case.context())
        require(
            y.dtype == dtype,
            f"dtype of y for inputs and parameters of {dtype}",
            expected=str(dtype),
            got=str(y.dtype),
            cause="a constant or a cast of a fixed dtype",
        )
    _require_autocast(case, T)


def _require_autocast(case: Case, T: int) -> None:
    module = case.module(perturbed=False)
    module.want = frozenset({"phase"}) & case.component.emits  # type: ignore[assignment]
    x = case.inputs(2, T)
    y = output(module, x, case.context())
    with torch.autocast(torch.device(case.device).type, torch.bfloat16):
        narrow, signals = call(module, x, case.context())
    require(
        narrow.dtype in (torch.bfloat16, torch.float32),
        "dtype of y under bfloat16 autocast",
        expected="bfloat16 or float32",
        got=str(narrow.dtype),
    )
    require_finite(narrow, "y under bfloat16 autocast")
    error = float(
        (narrow.double() - y.double()).detach().square().mean().sqrt()
        / y.detach().double().square().mean().sqrt().clamp(min=1e-30)
    )
    require(
        error <= AUTOCAST_ERROR,
        "relative error of y under bfloat16 autocast",
        expected=f"at most {AUTOCAST_ERROR:g}",
        got=f"{error:.3g}",
        cause="angles, sums or exponentials in bfloat16; switch autocast off around them",
    )
    torch.autograd.backward(narrow.float().square().sum())
    for name, p in module.named_parameters():
        if p.grad is not None:
            require_finite(p.grad, f"gradient of {name} under bfloat16 autocast")
    if "phase" in signals:
        require(
            signals["phase"].dtype in (torch.float32, torch.float64),
            "dtype of the signal phase under bfloat16 autocast",
            expected="float32 or wider",
            got=str(signals["phase"].dtype),
        )
