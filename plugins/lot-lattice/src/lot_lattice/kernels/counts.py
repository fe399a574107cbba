"""What the operators count as floating-point operations, for `torch.utils.flop_counter` and the cost tables of studies.

The rule is that of LOT: 2 for a multiply-add of a product of matrices, 1 for each result of an elementwise function, sine and
cosine included, 1 for each number that a sum reads. Counted is the form in PyTorch (`fallback`), which the compiled kernels
follow; pairs of heads that are no neighbors are counted too, although the kernels leave them out.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.flop_counter import register_flop_formula

import lot_lattice.kernels.operators  # noqa: F401  defines them

Shape = tuple[int, ...]
_operators: Any = torch.ops.lot_lattice


@register_flop_formula(_operators.lattice_scan)  # type: ignore[untyped-decorator]
def scan_operations(
    drive: Shape, omega: Shape, coupling: Shape, weights: Shape, theta0: Shape, dt: float, substeps: int, **_: Any
) -> int:
    """Of B sequences, H heads and S = T x substeps steps: B S (4 H^2 + 9 H), and the matrix once.

    A step of a sequence: sine and cosine 2 H, both times the matrix 4 H^2, the velocity 2 H, and the new phase 5 H: one sum,
    and two products that are added.
    """
    B, H, T = drive
    return B * T * substeps * (4 * H * H + 9 * H) + H * H + H


@register_flop_formula(_operators.lattice_scan_backward)  # type: ignore[untyped-decorator]
def scan_backward_operations(
    grad: Shape,
    theta: Shape,
    drive: Shape | None,
    omega: Shape,
    coupling: Shape,
    weights: Shape,
    theta0: Shape,
    dt: float,
    substeps: int,
    **_: Any,
) -> int:
    """B S (12 H^2 + 18 H), the gradients of matrix and rows, and with substeps the scan once more.

    A step of a sequence: sine and cosine 2 H; what each head keeps of its adjoint, two products with the matrix, 4 H^2 + 4 H;
    the adjoint, sent through the matrix, 4 H^2 + 8 H; its products with sine and cosine, which give the gradient of the
    matrix, 4 H^2 + 2 H; step and sum, 2 H.
    """
    B, H, T = theta
    steps = T * substeps
    once = 2 * H * H + H + 3 * H * H + (B * H if len(omega) == 1 else 0) + (B * H if len(theta0) == 1 else 0)
    again = 0
    if substeps > 1:  # states between tokens were not kept; their gradients are added up for each token
        again = scan_operations(theta, omega, coupling, weights, theta0, dt, substeps) + B * H * steps
    return B * steps * (12 * H * H + 18 * H) + once + again


@register_flop_formula(_operators.mean_field)  # type: ignore[untyped-decorator]
def mean_field_operations(
    theta0: Shape, omega: Shape, coupling: Shape, dt: float, iterations: int, causal: bool, **_: Any
) -> int:
    """10 for each oscillator of each token and iteration.

    Sine and cosine 2, their sums over tokens 2, cos S - sin C 3, its factor 1, and the sum of phase, turn and pull 2.
    """
    return _size(theta0) * 10 * iterations


@register_flop_formula(_operators.mean_field_backward)  # type: ignore[untyped-decorator]
def mean_field_backward_operations(
    grad: Shape,
    theta0: Shape,
    omega: Shape,
    coupling: Shape,
    sums: Shape,
    dt: float,
    iterations: int,
    causal: bool,
    **_: Any,
) -> int:
    """35 K - 10 for each oscillator of each token: K - 1 iterations again, and 25 for the adjoint of each.

    Sine, cosine and their sums 4; the scaled adjoint 1; the gradient of omega 1, and of the coupling 6; the adjoint's own part
    5, and what it gets through the sums of sine and of cosine, 4 each.
    """
    return _size(theta0) * (10 * (iterations - 1) + 25 * iterations)


def _size(shape: Shape) -> int:
    B, H, T, O = shape  # noqa: E741
    return B * H * T * O
