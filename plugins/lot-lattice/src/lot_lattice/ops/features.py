"""The phase features of lattice attention as one step of autograd.

Each is a few hundred numbers or a few thousand, so that the time goes to calls: a graph of forty nodes takes three times as
long as this, whose backward is written out.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor


class Oscillators(NamedTuple):
    """What is learned of the heads, each (H,), and fixed: what is between two of them, (H, H)."""

    frequency: Tensor
    coupling: Tensor
    log_spacing: Tensor
    start_phase: Tensor
    alpha: Tensor
    squared_distance: Tensor
    neighbor: Tensor


def phase_features(drive: Tensor, heads: Oscillators, dt: float, substeps: int) -> tuple[Tensor, Tensor]:
    """alpha (cos theta, sin theta) and (cos theta, sin theta) of the phases that `drive` (B, H, T) leads to, (B, H, T, 2) each.

    All floating-point arguments have the dtype of `drive`, float32 or float64. Differentiable once.
    """
    found: tuple[Tensor, Tensor] = _PhaseFeatures.apply(drive, dt, substeps, *heads)  # type: ignore[no-untyped-call]
    return found


def neighbor_weights(closeness: Tensor, neighbor: Tensor) -> Tensor:
    """W (H, H): exp(-distance_ij / l_i), of `closeness` -distance_ij / l_i, for neighbors, else 0."""
    return torch.where(neighbor, closeness.exp(), 0.0)


def closeness_of(log_spacing: Tensor, squared_distance: Tensor) -> Tensor:
    """-distance_ij / l_i (H, H) in the dtype of `log_spacing` (H,)."""
    constant = log_spacing.exp()
    return -squared_distance.to(constant.dtype).sqrt() / constant[:, None]


class _PhaseFeatures(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, drive: Tensor, dt: float, substeps: int, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        heads = Oscillators(*tensors)
        closeness = closeness_of(heads.log_spacing, heads.squared_distance)
        weights = neighbor_weights(closeness, heads.neighbor)
        scan = (heads.frequency, heads.coupling, weights, heads.start_phase)
        theta = torch.ops.lot_lattice.lattice_scan(drive, *scan, dt, substeps)
        points = theta.new_empty(*theta.shape, 2)
        torch.cos(theta, out=points[..., 0])
        torch.sin(theta, out=points[..., 1])
        ctx.save_for_backward(theta, drive if substeps > 1 else None, points, closeness, heads.alpha, *scan)
        ctx.dt, ctx.substeps = dt, substeps
        ctx.set_materialize_grads(False)
        return heads.alpha[:, None, None] * points, points

    @staticmethod
    def backward(ctx: Any, of_query: Tensor | None, of_key: Tensor | None) -> tuple[Tensor | None, ...]:
        theta, drive, points, closeness, alpha, *scan = ctx.saved_tensors
        of_alpha, of_points = None, of_key
        if of_query is not None:
            of_alpha = (of_query * points).sum((0, 2, 3))
            scaled = alpha[:, None, None] * of_query
            of_points = scaled if of_key is None else scaled.add_(of_key)
        if of_points is None:
            return (None,) * 10
        of_theta = of_points[..., 1] * points[..., 0] - of_points[..., 0] * points[..., 1]
        of_drive, of_frequency, of_coupling, of_weights, of_start = torch.ops.lot_lattice.lattice_scan_backward(
            of_theta, theta, drive, *scan, ctx.dt, ctx.substeps
        )
        of_spacing = -(of_weights * scan[2] * closeness).sum(1)
        return of_drive, None, None, of_frequency, of_coupling, of_spacing, of_start, of_alpha, None, None
