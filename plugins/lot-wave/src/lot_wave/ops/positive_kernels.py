"""The positive kernels of pure wave attention, and the epsilon under every division."""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

Kernel = Literal["elu_plus_one", "sigmoid", "exp"]

EPSILON = 1e-6
"""Added to every sum that divides, so that silence (all amplitudes 0) gives weight 0 and no NaN."""
LARGEST_EXPONENT = 20.0
"""exp stops growing here, so that products of two features, and their sums over a sequence, stay finite in float32."""


def apply_kernel(x: Tensor, kernel: Kernel) -> Tensor:
    """The kernel of each element: elu(x) + 1, 1 / (1 + e^-x), or e^x; none is negative."""
    if kernel == "elu_plus_one":
        return F.elu(x) + 1.0
    if kernel == "sigmoid":
        return x.sigmoid()
    return x.clamp(max=LARGEST_EXPONENT).exp()
