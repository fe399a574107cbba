"""Keyed random numbers, and parameters that are moved by them: a check that fails today fails in the same way tomorrow."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from lot.random import torch_generator


def normal(
    shape: tuple[int, ...], *key: str | int, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> Tensor:
    """Numbers from N(0, 1), the same for the same shape and key on every device and in every dtype up to rounding."""
    values = torch.randn(shape, generator=torch_generator(0, "kit", *shape, *key), dtype=torch.float64)
    return values.to(device, dtype)


def spread(parameter: Tensor) -> float:
    """How far to move a parameter so that the move matters and nothing saturates.

    For a matrix it is 1 / sqrt(inputs), so that the matrix maps unit variance to unit variance.
    For anything else it is 0.3, or 0.3 times the root mean square of the parameter where that is above 1.
    """
    if parameter.dim() >= 2:
        return 1.0 / math.sqrt(parameter.shape[-1])
    size = float(parameter.detach().double().square().mean().sqrt()) if parameter.numel() else 0.0
    return 0.3 * max(1.0, size if math.isfinite(size) else 1.0)


@torch.no_grad()
def perturb(module: nn.Module, *key: str | int, times: float = 1.0) -> None:
    """Add N(0, (times spread)^2), keyed by name and `key`, to every parameter, so that gates which start at zero are open."""
    for name, parameter in module.named_parameters():
        if parameter.is_floating_point():
            draw = normal(tuple(parameter.shape), "perturb", name, *key, dtype=parameter.dtype)
            parameter.add_(times * spread(parameter) * draw)


class shifted:
    """A context in which `tensor` is moved by `by`, in place; afterwards it holds the same bits as before."""

    def __init__(self, tensor: Tensor, by: Tensor) -> None:
        self.tensor, self.by = tensor, by

    @torch.no_grad()
    def __enter__(self) -> None:
        self.before = self.tensor.detach().clone()
        self.tensor += self.by

    @torch.no_grad()
    def __exit__(self, *_: object) -> None:
        self.tensor.copy_(self.before)
