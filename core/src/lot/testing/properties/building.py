"""The factory builds a module of the right class whose parameters all have an initial value."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from lot.errors import BadInput, PluginError
from lot.testing.case import Case
from lot.testing.failure import KitFailure, require, require_finite


def built(case: Case, contract: type[nn.Module]) -> nn.Module:
    """The module, of the class that its kind asks for. Raises KitFailure where the factory gives anything else."""
    try:
        with _nan_in_new_memory():
            module = case.module(perturbed=False)
    except PluginError:
        raise
    except BadInput as error:
        raise KitFailure(
            f"factory refused width {case.dims.width}, {case.dims.heads} heads, length {case.dims.max_len} ({error})",
            expected="a module with default options for common dimensions",
            cause="defaults that fit one size only; the kit takes other dimensions as dims=Dims(...)",
        ) from error
    require(
        isinstance(module, contract),
        "factory",
        expected=f"a lot.{contract.__name__}",
        got=type(module).__name__,
        cause="a class that derives from nn.Module alone",
    )
    for name, p in module.named_parameters():
        require_finite(p, f"initial value of {name}", cause="a parameter that reset_parameters forgets")
    return module


@contextmanager
def _nan_in_new_memory() -> Iterator[None]:
    """torch.empty gives NaN meanwhile, so that a parameter without an initial value shows."""
    before, warn_only = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warn_only)
