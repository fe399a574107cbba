"""y has the shape and the device that the contract says, for every length and for any layout of memory."""

from __future__ import annotations

import torch

from lot.testing.case import Case, output
from lot.testing.failure import require, require_close, require_finite


def require_shapes(case: Case, lengths: tuple[tuple[int, int], ...]) -> None:
    """y is (B, T, D) for every (B, T), on the device of the inputs; the inputs stay as they were."""
    module = case.module()
    for B, T in lengths:
        x = case.inputs(B, T)
        kept = x.clone()
        with torch.no_grad():
            y = output(module, x, case.context())
        expected = (B, T, case.dims.width)
        require(
            tuple(y.shape) == expected,
            f"shape of y for B = {B}, T = {T}",
            expected=str(expected),
            got=str(tuple(y.shape)),
        )
        require(y.device == x.device, "device of y", expected=str(x.device), got=str(y.device))
        require_finite(y, f"y for B = {B}, T = {T}")
        require(
            torch.equal(x, kept),
            "inputs after forward",
            expected="unchanged values",
            got="other values",
            cause="an in-place operation on x",
        )
        with torch.no_grad():
            strided = output(module, x.transpose(0, 1).contiguous().transpose(0, 1), case.context())
        require_close(
            strided, y, 1e-5, "y for a non-contiguous input", cause="view() or a kernel that assumes contiguous memory"
        )
