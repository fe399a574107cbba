"""The work of the compiled kernels in PyTorch: the same four functions, for machines on which nothing can be compiled.

Each writes its results into the tensors that it is given last. No autograd: the backward functions are the adjoints,
written out. Shapes and formulas: `csrc/arguments.h`.
"""

from __future__ import annotations

import torch
from torch import Tensor


def lattice_forward(
    drive: Tensor, omega: Tensor, coupling: Tensor, weights: Tensor, theta0: Tensor, step: float, theta: Tensor
) -> None:
    """theta (B, H, T) from drive (B, H, T), omega and theta0 (B, H), coupling (H,) and weights (H, H)."""
    B, H, T = drive.shape
    velocity = ((drive + omega[..., None]) * step).permute(2, 0, 1).contiguous()  # (T, B, H): a step reads one block
    matrix = ((step * coupling)[:, None] * weights).t().contiguous()  # (j, i)
    phase = theta0.clone()
    waves, felt = drive.new_empty(2 * B, H), drive.new_empty(2 * B, H)
    sine, cosine = waves[:B], waves[B:]
    phases = drive.new_empty(T, B, H)
    for turned, out in zip(velocity.unbind(), phases.unbind(), strict=True):
        torch.sin(phase, out=sine)
        torch.cos(phase, out=cosine)
        torch.mm(waves, matrix, out=felt)
        phase.add_(turned).addcmul_(cosine, felt[:B]).addcmul_(sine, felt[B:], value=-1)
        out.copy_(phase)
    theta.copy_(phases.permute(1, 2, 0))


def lattice_backward(
    grad: Tensor,
    theta: Tensor,
    coupling: Tensor,
    weights: Tensor,
    theta0: Tensor,
    step: float,
    pull: Tensor,
    grad_omega: Tensor,
    grad_theta0: Tensor,
    sines: Tensor,
) -> None:
    """The adjoint: pull (B, H, T) is the gradient of drive; sines (1, H, H) sums pull_i sin(theta_j - theta_i)."""
    B, H, T = theta.shape
    before = torch.cat((theta0[..., None], theta[..., :-1]), dim=-1).permute(2, 0, 1)  # (T, B, H)
    waves = torch.stack((before.cos(), before.sin()), dim=1)  # (T, 2, B, H)
    cosine, sine = waves.unbind(1)
    matrix = (step * coupling)[:, None] * weights  # (i, j)
    kept = 1 - cosine * (cosine @ matrix.t()) - sine * (sine @ matrix.t())
    arriving = grad.permute(2, 0, 1).contiguous()
    adjoint = theta.new_zeros(B, H)
    adjoints = torch.empty_like(arriving)
    product, felt = theta.new_empty(2, B, H), theta.new_empty(2, B, H)
    for t in range(T - 1, -1, -1):
        torch.add(adjoint, arriving[t], out=adjoints[t])
        torch.mul(waves[t], adjoints[t], out=product)
        torch.mm(product.view(2 * B, H), matrix, out=felt.view(2 * B, H))
        torch.mul(adjoints[t], kept[t], out=adjoint)
        adjoint.addcmul_(cosine[t], felt[0]).addcmul_(sine[t], felt[1])
    adjoints.mul_(step)
    by_cosine, by_sine = (adjoints * cosine).view(-1, H), (adjoints * sine).view(-1, H)
    pull.copy_(adjoints.permute(1, 2, 0))
    grad_omega.copy_(adjoints.sum(0))
    grad_theta0.copy_(adjoint)
    sines.copy_((by_cosine.t() @ sine.reshape(-1, H) - by_sine.t() @ cosine.reshape(-1, H))[None])


def mean_field_forward(
    theta0: Tensor,
    omega: Tensor,
    coupling: Tensor,
    dt: float,
    iterations: int,
    causal: bool,
    theta: Tensor,
    sums: Tensor,
) -> None:
    """theta (B, H, T, O) from theta0 (B, H, T, O), omega (B, H, O) and coupling (H,), and the sums at segment ends."""
    turn, rate = motion(theta0, omega, coupling, dt, causal)
    ends = _segment_ends(theta0.shape[2], sums.shape[2])
    phase = theta0
    for k in range(iterations):
        sine, cosine = phase.sin(), phase.cos()
        S, C = prefix(sine, causal), prefix(cosine, causal)
        if causal:
            sums[:, :, :, k, 0], sums[:, :, :, k, 1] = S[:, :, ends], C[:, :, ends]
        phase = phase + turn + rate * (cosine * S - sine * C)
    theta.copy_(phase)


def mean_field_backward(
    grad: Tensor,
    theta0: Tensor,
    omega: Tensor,
    coupling: Tensor,
    sums: Tensor,
    dt: float,
    iterations: int,
    causal: bool,
    grad_theta0: Tensor,
    grad_omega: Tensor,
    grad_coupling: Tensor,
    trace: Tensor,
) -> None:
    """The adjoint: the gradients of theta0 (B, H, T, O), and of omega and coupling by column (B, H, O)."""
    turn, rate = motion(theta0, omega, coupling, dt, causal)
    per_coupling = motion(theta0, omega, torch.ones_like(coupling), dt, causal)[1]
    phases = [theta0]  # before each iteration
    for _ in range(iterations - 1):
        sine, cosine = phases[-1].sin(), phases[-1].cos()
        phases.append(phases[-1] + turn + rate * (cosine * prefix(sine, causal) - sine * prefix(cosine, causal)))
    adjoint = grad
    grad_omega.zero_()
    grad_coupling.zero_()
    for phase in reversed(phases):
        sine, cosine = phase.sin(), phase.cos()
        S, C = prefix(sine, causal), prefix(cosine, causal)
        scaled = adjoint * rate
        grad_omega.add_(adjoint.sum(2), alpha=dt)
        grad_coupling.add_((adjoint * per_coupling * (cosine * S - sine * C)).sum(2))
        adjoint = (
            adjoint
            - scaled * (sine * S + cosine * C)
            + cosine * _suffix(scaled * cosine, causal)
            + sine * _suffix(scaled * sine, causal)
        )
    grad_theta0.copy_(adjoint)


def motion(theta0: Tensor, omega: Tensor, coupling: Tensor, dt: float, causal: bool) -> tuple[Tensor, Tensor]:
    """dt omega (B, H, 1, O), and dt coupling / n (H, T or 1, 1)."""
    T = theta0.shape[2]
    n = torch.arange(1, T + 1, dtype=theta0.dtype, device=theta0.device) if causal else theta0.new_full((1,), T)
    return dt * omega[:, :, None], (dt * coupling)[:, None, None] / n[:, None]


def prefix(x: Tensor, causal: bool) -> Tensor:
    """Sums over the tokens that a token feels, (B, H, T or 1, O)."""
    return x.cumsum(2) if causal else x.sum(2, keepdim=True)


def _suffix(x: Tensor, causal: bool) -> Tensor:
    """Sums over the tokens that feel a token."""
    return x.flip(2).cumsum(2).flip(2) if causal else x.sum(2, keepdim=True)


def _segment_ends(steps: int, segments: int) -> list[int]:
    """The last token of each segment."""
    length = -(-steps // max(segments, 1))
    return [min((n + 1) * length, steps) - 1 for n in range(segments)]
