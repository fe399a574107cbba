"""The export forms of the kernels: what stands for them in a program that runs without this plugin."""

from __future__ import annotations

import torch
from torch import Tensor

import lot_lattice.kernels.operators  # noqa: F401  registers what these forms stand for
from lot.nn import export_form, scan
from lot_lattice.kernels import fallback

Tensors = tuple[Tensor, ...]


@export_form(torch.ops.lot_lattice.lattice_scan.default)
def lattice_scan_form(
    drive: Tensor, omega: Tensor, coupling: Tensor, weights: Tensor, theta0: Tensor, dt: float, substeps: int
) -> Tensor:
    """`lattice_scan` as a loop over the substeps of all tokens."""
    B, H, _ = drive.shape
    step = dt / substeps
    velocity = ((drive + omega[..., None]) * step).permute(2, 0, 1)  # (T, B, H)
    if substeps > 1:
        velocity = velocity[:, None].expand(-1, substeps, -1, -1).flatten(0, 1)
    matrix = ((step * coupling)[:, None] * weights).t().contiguous()  # (j, i)
    _, (theta,) = scan(_turn, (theta0.expand(B, H).contiguous(),), (velocity,), (matrix,))
    return theta[substeps - 1 :: substeps].permute(1, 2, 0).contiguous()


def _turn(states: Tensors, inputs: Tensors, constants: Tensors) -> tuple[Tensors, Tensors]:
    (theta,), (velocity,), (matrix,) = states, inputs, constants
    sine, cosine = theta.sin(), theta.cos()
    theta = theta + velocity + cosine * (sine @ matrix) - sine * (cosine @ matrix)
    return (theta,), (theta,)


@export_form(torch.ops.lot_lattice.mean_field.default)
def mean_field_form(
    theta0: Tensor, omega: Tensor, coupling: Tensor, dt: float, iterations: int, causal: bool
) -> tuple[Tensor, Tensor]:
    """`mean_field` in prefix sums over the tokens, and none of the sums that a backward pass would begin from."""
    B, H, _, O = theta0.shape  # noqa: E741
    turn, rate = fallback.motion(theta0, omega.expand(B, H, O), coupling, dt, causal)
    theta = theta0
    for _ in range(iterations):
        sine, cosine = theta.sin(), theta.cos()
        pull = cosine * fallback.prefix(sine, causal) - sine * fallback.prefix(cosine, causal)
        theta = theta + turn + rate * pull
    return theta, theta0.new_zeros(2)
