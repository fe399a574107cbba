"""How a check ends: it returns in silence, or raises `KitFailure` or `NotApplicable`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class KitFailure(AssertionError):
    """A component breaks its contract.

    what: the thing that was checked. expected, got: what it should be, and what it is. cause: what usually causes that.
    The text of the error joins the four, and names the place.
    where: file and line in the component's own code at which an error stopped the check, or "".
    same_as: the earlier check of the same run that stopped at the same error, or "".
    """

    where: str = ""
    same_as: str = ""

    def __init__(self, what: str, *, expected: str = "", got: Any = None, cause: str = "") -> None:
        self.what, self.expected, self.got, self.cause = what, expected, got, cause
        text = what
        if expected:
            text += f": expected {expected}"
        if got is not None:
            text += f"{', ' if expected else ': '}got {got}"
        if cause:
            text += f". Usual cause: {cause}"
        super().__init__(text)

    def __str__(self) -> str:
        text = super().__str__()
        return f"{text} ({self.where})" if self.where else text


class NotApplicable(Exception):
    """A check has nothing to say about this component; the text gives the reason."""


def require(holds: bool, what: str, *, expected: str = "", got: Any = None, cause: str = "") -> None:
    """Raise KitFailure unless `holds`."""
    if not holds:
        raise KitFailure(what, expected=expected, got=got, cause=cause)


def require_named_tensors(values: Any, what: str) -> None:
    """Raise KitFailure unless `values` is a dict that is not empty, of tensors by name."""
    require(
        isinstance(values, dict) and len(values) > 0,
        what,
        expected="a dict of named tensors",
        got=type(values).__name__,
    )
    for name, value in values.items():
        require(
            isinstance(name, str) and isinstance(value, Tensor),
            what,
            expected="tensors by name",
            got=f"{name!r}: {type(value).__name__}",
        )


def largest(tensor: Tensor) -> float:
    """The largest absolute value, 0 for an empty tensor; NaN where there is one."""
    return float(tensor.detach().abs().max()) if tensor.numel() else 0.0


def require_finite(tensor: Tensor, what: str, *, cause: str = "") -> None:
    """Raise KitFailure where `tensor` holds NaN or infinity."""
    bad = int((~torch.isfinite(tensor.detach())).sum()) if tensor.is_floating_point() else 0
    require(
        bad == 0, what, expected="finite numbers", got=f"{bad} of {tensor.numel()} that are not finite", cause=cause
    )


def require_equal(got: Tensor, expected: Tensor, what: str, *, cause: str = "") -> None:
    """Raise KitFailure unless two finite tensors are bit-equal."""
    require_finite(got, what)
    if not torch.equal(got, expected):
        difference = (
            largest(got.double() - expected.double()) if got.shape == expected.shape else f"shape {tuple(got.shape)}"
        )
        raise KitFailure(what, expected="bit-equal values", got=f"a largest difference of {difference}", cause=cause)


def require_close(
    got: Tensor, expected: Tensor, tolerance: float, what: str, *, scale: float | None = None, cause: str = ""
) -> None:
    """Raise KitFailure unless |got - expected| <= tolerance x scale everywhere; default scale: largest |expected|."""
    require_finite(got, what)
    scale = largest(expected) if scale is None else scale
    difference = largest(got.double() - expected.double())
    require(
        difference <= tolerance * scale,
        what,
        expected=f"agreement to {tolerance:g} of {scale:.3g}",
        got=f"a largest difference of {difference:.3g}",
        cause=cause,
    )
