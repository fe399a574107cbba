"""Statistics of angles (Mardia and Jupp, "Directional Statistics", 2000), which do not jump where an angle passes +-pi.

Angles are tensors in radians, of any shape; statistics are computed in float32 or wider.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def order_parameter(theta: Tensor, dim: int = -1) -> Tensor:
    """Kuramoto's R = |mean exp(i theta)| over `dim`: 0 for phases spread evenly, 1 for equal phases.

    theta: any shape, radians; computed in float32 or wider. The gradient at R = 0 is 0.
    """
    theta = theta.to(torch.promote_types(theta.dtype, torch.float32))
    square = theta.cos().mean(dim) ** 2 + theta.sin().mean(dim) ** 2
    positive = square > 0
    return torch.where(positive, torch.where(positive, square, 1.0).sqrt(), 0.0)


def chance_order(n: int) -> float:
    """The R that n independent uniform phases give on average, sqrt(pi / 4n) for large n (0.31 for 8); 1 for n = 1."""
    return 1.0 if n == 1 else math.sqrt(math.pi / (4 * n))


def circular_mean(theta: Tensor, dim: int = -1) -> Tensor:
    """The direction of the mean vector over `dim`, radians in [-pi, pi]; its shape is that of theta without `dim`."""
    theta = theta.to(torch.promote_types(theta.dtype, torch.float32))
    return torch.atan2(theta.sin().mean(dim), theta.cos().mean(dim))


def circular_variance(theta: Tensor, dim: int = -1) -> Tensor:
    """1 - R over `dim`, in [0, 1]: 0 for equal phases, 1 for phases spread evenly."""
    return 1.0 - order_parameter(theta, dim)


def wrap(theta: Tensor) -> Tensor:
    """The same angles in (-pi, pi] (to rounding)."""
    return math.pi - torch.remainder(math.pi - theta, 2 * math.pi)
