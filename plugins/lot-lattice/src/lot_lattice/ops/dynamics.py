"""Kuramoto dynamics: the lattice scan and the mean field, each with a slow reference and a form in plain PyTorch.

`lattice_scan` and `mean_field` are the operators to call, from `lot_lattice.kernels`. What stands here is plain PyTorch:
what they are tested and timed against, and what goes on where they do not reach (second derivatives, padding, decoding).

Kuramoto, "Self-entrainment of a population of coupled non-linear oscillators", 1975. Shapes: B batch, H heads,
T positions, O oscillators of a head. Phases in radians, never wrapped.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lot_lattice.kernels import lattice_scan, mean_field

__all__ = [
    "MeanFieldState",
    "coupling_force",
    "lattice_scan",
    "lattice_scan_eager",
    "lattice_scan_reference",
    "mean_field",
    "mean_field_eager",
    "mean_field_extend",
    "mean_field_reference",
]


def lattice_scan_reference(
    drive: Tensor,
    omega: Tensor,
    coupling: Tensor,
    weights: Tensor,
    theta0: Tensor,
    dt: float,
    substeps: int = 1,
) -> Tensor:
    """`lattice_scan` as the formula stands: every pair of heads, token after token. Slow and plainly right."""
    theta = theta0.expand(drive.shape[:2])
    phases = []
    for push in drive.unbind(-1):
        for _ in range(substeps):
            difference = theta[:, None, :] - theta[:, :, None]  # (B, i, j): theta_j - theta_i
            force = coupling * (weights * difference.sin()).sum(-1)
            theta = theta + dt / substeps * (omega + push + force)
        phases.append(theta)
    return torch.stack(phases, dim=-1)


def lattice_scan_eager(
    drive: Tensor,
    omega: Tensor,
    coupling: Tensor,
    weights: Tensor,
    theta0: Tensor,
    dt: float,
    substeps: int = 1,
) -> Tensor:
    """`lattice_scan` in plain PyTorch, written for speed: sin(a - b) is split, and the graph has T steps."""
    theta = theta0.expand(drive.shape[:2])
    scaled = (coupling[:, None] * weights).t() * (dt / substeps)  # (j, i)
    phases = []
    for velocity in ((drive + omega[..., None]) * (dt / substeps)).unbind(-1):
        for _ in range(substeps):
            sin, cos = theta.sin(), theta.cos()
            theta = theta + velocity + cos * (sin @ scaled) - sin * (cos @ scaled)
        phases.append(theta)
    return torch.stack(phases, dim=-1)


def coupling_force(theta: Tensor, coupling: Tensor, weights: Tensor) -> Tensor:
    """coupling_i sum_j weights_ij sin(theta_j - theta_i): what the neighbors do to each head; theta (B, H, T)."""
    sin, cos = theta.sin(), theta.cos()
    return coupling[:, None] * (cos * (weights @ sin) - sin * (weights @ cos))


def mean_field_reference(
    theta0: Tensor,
    omega: Tensor,
    coupling: Tensor,
    dt: float,
    iterations: int,
    causal: bool = True,
    padding: Tensor | None = None,
) -> Tensor:
    """`mean_field` as the formula stands, with the (B, H, T, T, O) tensor of all differences.

    padding: (B, T), True for tokens that no other token feels.
    """
    B, _, T, _ = theta0.shape
    seen = torch.ones(T, T, dtype=theta0.dtype, device=theta0.device)
    seen = (seen.tril() if causal else seen).expand(B, T, T)
    if padding is not None:
        seen = seen.masked_fill(padding[:, None, :], 0.0)
    count = seen.sum(-1).clamp(min=1)[:, None, :, None]  # (B, 1, i, 1)
    theta = theta0
    for _ in range(iterations):
        difference = theta[:, :, None] - theta[:, :, :, None]  # (B, H, i, j, O): theta_j - theta_i
        pull = (seen[:, None, :, :, None] * difference.sin()).sum(3) / count
        theta = theta + dt * (omega[..., None, :] + coupling[:, None, None] * pull)
    return theta


def mean_field_eager(
    theta0: Tensor,
    omega: Tensor,
    coupling: Tensor,
    dt: float,
    iterations: int,
    causal: bool = True,
    padding: Tensor | None = None,
) -> Tensor:
    """`mean_field` with prefix sums of sin and cos: time and memory linear in T. padding: as in the reference."""
    T = theta0.shape[2]
    n: Tensor | int
    if padding is not None:
        hidden = padding[:, None, :, None]  # (B, 1, T, 1)
        kept = (~hidden).to(theta0.dtype)
        n = (kept.cumsum(2) if causal else kept.sum(2, keepdim=True)).clamp(min=1)
    else:
        hidden = None
        n = torch.arange(1, T + 1, dtype=theta0.dtype, device=theta0.device)[:, None] if causal else T
    scale = dt * coupling[:, None, None] / n  # (H, T or 1, 1), or (B, H, T or 1, 1)
    turn = dt * omega[..., None, :]  # (H, 1, O) or (B, H, 1, O)
    theta = theta0
    for _ in range(iterations):
        sin, cos = theta.sin(), theta.cos()
        felt_sin, felt_cos = (sin, cos) if hidden is None else (sin.masked_fill(hidden, 0), cos.masked_fill(hidden, 0))
        if causal:
            sum_sin, sum_cos = felt_sin.cumsum(2), felt_cos.cumsum(2)
        else:
            sum_sin, sum_cos = felt_sin.sum(2, keepdim=True), felt_cos.sum(2, keepdim=True)
        theta = theta + turn + scale * (cos * sum_sin - sin * sum_cos)
    return theta


@dataclass
class MeanFieldState:
    """What the causal mean field remembers of the tokens so far.

    sum_sin, sum_cos: (K, B, H, O), of the phases before each iteration. count: (B, 1), how many tokens were summed.
    """

    sum_sin: Tensor
    sum_cos: Tensor
    count: Tensor


def mean_field_extend(
    theta0: Tensor,
    omega: Tensor,
    coupling: Tensor,
    dt: float,
    state: MeanFieldState,
    padding: Tensor | None = None,
) -> tuple[Tensor, MeanFieldState]:
    """Phases (B, H, n, O) of the next n tokens after those that `state` has seen, and the state after them."""
    hidden = None if padding is None else padding[:, None, :, None]
    kept = torch.ones_like(theta0[:, 0, :, 0]) if padding is None else (~padding).to(theta0.dtype)
    count = state.count + kept.cumsum(1)  # (B, n)
    scale = dt * coupling[:, None, None] / count.clamp(min=1)[:, None, :, None]
    turn = dt * omega[..., None, :]
    theta, sums_sin, sums_cos = theta0, [], []
    for before_sin, before_cos in zip(state.sum_sin, state.sum_cos, strict=True):
        sin, cos = theta.sin(), theta.cos()
        felt_sin, felt_cos = (sin, cos) if hidden is None else (sin.masked_fill(hidden, 0), cos.masked_fill(hidden, 0))
        sum_sin = before_sin[:, :, None] + felt_sin.cumsum(2)
        sum_cos = before_cos[:, :, None] + felt_cos.cumsum(2)
        theta = theta + turn + scale * (cos * sum_sin - sin * sum_cos)
        sums_sin.append(sum_sin[:, :, -1])
        sums_cos.append(sum_cos[:, :, -1])
    return theta, MeanFieldState(torch.stack(sums_sin), torch.stack(sums_cos), count[:, -1:])
