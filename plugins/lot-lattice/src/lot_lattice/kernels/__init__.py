"""Kuramoto kernels as torch operators: `lattice_scan` and `mean_field`, compiled for CPU and CUDA, else in PyTorch.

`LOT_KERNELS=auto|off|require` chooses the form; the result is the same to rounding. Float32 is the fast path; float64
serves for checking. Under autocast both compute in float32. Differentiable once.
"""

from __future__ import annotations

import torch
from torch import Tensor

import lot_lattice.kernels.counts  # registers the operators, and what they count as
import lot_lattice.kernels.export_forms  # noqa: F401  and what stands for them in exported programs

__all__ = ["lattice_scan", "mean_field"]


def lattice_scan(
    drive: Tensor,
    omega: Tensor,
    coupling: Tensor,
    weights: Tensor,
    theta0: Tensor,
    dt: float,
    substeps: int = 1,
) -> Tensor:
    """Phases (B, H, T) in radians of H coupled oscillators, driven token by token; theta[..., t] is the phase after token t.

        theta_i <- theta_i + dt [omega_i + drive_i(t) + coupling_i sum_j weights_ij sin(theta_j - theta_i)]

    drive: (B, H, T), radians per unit of time. omega: (H,) or (B, H), the same unit. coupling: (H,). weights: (H, H),
    what head i feels of head j; zeros cost nothing. theta0: (H,) or (B, H), the phase before the first token. dt: time
    of a token; substeps: Euler steps per token, each of dt / substeps. H is at most 256.
    Raises ValueError or TypeError, in one line, for shapes, types or devices that do not fit.
    """
    theta: Tensor = torch.ops.lot_lattice.lattice_scan(drive, omega, coupling, weights, theta0, dt, substeps)
    return theta


def mean_field(
    theta0: Tensor, omega: Tensor, coupling: Tensor, dt: float, iterations: int, causal: bool = True
) -> Tensor:
    """Phases (B, H, T, O) in radians after `iterations` Euler steps toward the mean field over tokens.

        theta_i <- theta_i + dt [omega + (coupling / n_i) sum_{j in P(i)} sin(theta_j - theta_i)]

    P(i) holds the tokens j <= i, or all tokens where `causal` is false; n_i is their number. Each oscillator o of each
    head is coupled over tokens, and to nothing else. theta0: (B, H, T, O). omega: (H, O) or (B, H, O), radians per unit of
    time. coupling: (H,). dt: time of an iteration. For the backward pass at most 1.2 times the phases are kept,
    whatever `iterations` is.
    Raises ValueError or TypeError, in one line, for shapes, types or devices that do not fit.
    """
    theta, _ = torch.ops.lot_lattice.mean_field(theta0, omega, coupling, dt, iterations, causal)
    result: Tensor = theta
    return result
