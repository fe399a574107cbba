"""The attentions of this package as their formulas stand, with explicit loops: slow, and what tests compare with."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

from lot_lattice.attention.lattice import LatticeAttention
from lot_lattice.attention.phase import PhaseAttention
from lot_lattice.ops.dynamics import mean_field_reference


def lattice_attention_reference(module: LatticeAttention, x: Tensor) -> tuple[Tensor, Tensor]:
    """(y (B, T, D), theta (B, H, T)) of `module` for x (B, T, D), without dropout or padding, one score at a time."""
    B, T, _ = x.shape
    H, d, causal = module.dims.heads, module.dims.head_width, module.causal
    q, k, v = module.heads.split(x)
    W = _weights(module)
    theta = _phases(module, x, W)
    rows = []
    for b, h, t in itertools.product(range(B), range(H), range(T)):
        seen = range(t + 1 if causal else T)
        scores = [
            (q[b, h, t] * k[b, h, s]).sum() / math.sqrt(d) + module.alpha[h] * _agreement(module, theta[b], W, h, t, s)
            for s in seen
        ]
        weights = torch.stack(scores).softmax(0)
        rows.append(sum(weight * v[b, h, s] for s, weight in zip(seen, weights, strict=True)))
    y = torch.stack(rows).view(B, H, T, d)
    return module.heads.merge(y), theta


def phase_attention_reference(module: PhaseAttention, x: Tensor) -> tuple[Tensor, Tensor]:
    """(y (B, T, D), theta (B, H, T, O)) of `module` for x (B, T, D), without noise or padding."""
    B, T, _ = x.shape
    H, N = module.frequency.shape
    raw = x @ module.to_phase.weight.t() + module.to_phase.bias
    theta0 = torch.stack([math.pi * torch.tanh(raw[..., h * N : (h + 1) * N]) for h in range(H)], dim=1)
    c = module.config
    theta = mean_field_reference(theta0, module.frequency, module.coupling, c.dt, c.iterations, module.causal)
    rows = []
    for b, t in itertools.product(range(B), range(T)):
        features = []
        for h in range(H):
            if c.readout == "angle":
                features.append(torch.atan2(theta[b, h, t].sin(), theta[b, h, t].cos()))
            else:
                features += [theta[b, h, t].cos(), theta[b, h, t].sin()]
        rows.append(module.from_phase.weight @ torch.cat(features) + module.from_phase.bias)
    return torch.stack(rows).view(B, T, -1), theta


def _agreement(module: LatticeAttention, theta: Tensor, W: list[list[Tensor]], h: int, t: int, s: int) -> Tensor:
    """What alpha multiplies, for the phases theta (H, T) of one sequence, query position t and key position s."""
    if module.config.score == "head":
        return theta[h, t].cos()
    if module.config.score == "phase":
        return (theta[h, t] - theta[h, s]).cos()
    total = sum(W[h])
    return sum(W[h][j] / total * (theta[h, t] - theta[j, s]).cos() for j in range(len(W)))  # type: ignore[return-value]


def _weights(module: LatticeAttention) -> list[list[Tensor]]:
    """W[i][j], from the distance of the sites i and j."""
    c = module.config
    sites = list(itertools.product(*(range(size) for size in module.shape)))
    constants = module.log_spacing.exp()
    W = []
    for i, here in enumerate(sites):
        row = []
        for there in sites:
            steps = [abs(a - b) for a, b in zip(here, there, strict=True)]
            if c.boundary == "periodic":
                steps = [min(step, size - step) for step, size in zip(steps, module.shape, strict=True)]
            reach = max(steps) if c.neighborhood == "moore" else sum(steps)
            distance = math.sqrt(sum(step * step for step in steps))
            row.append(torch.exp(-distance / constants[i]) if 0 < reach <= c.radius else torch.zeros_like(constants[i]))
        W.append(row)
    return W


def _phases(module: LatticeAttention, x: Tensor, W: list[list[Tensor]]) -> Tensor:
    c = module.config
    push = x @ module.drive.weight.t()  # (B, T, H)

    def step(theta: list[Tensor], drive: list[Tensor], h: float) -> list[Tensor]:
        pull = [
            sum(w * (there - here).sin() for w, there in zip(row, theta, strict=True))
            for row, here in zip(W, theta, strict=True)
        ]
        force = [module.coupling[i] * pull[i] for i in range(len(W))]
        return [theta[i] + h * (module.frequency[i] + drive[i] + force[i]) for i in range(len(W))]

    result = []
    for sequence in push:
        theta = list(module.start_phase.unbind())
        phases = []
        for drive in sequence:
            if c.dynamics == "relax":
                theta = list((module.start_phase + drive).unbind())
                for _ in range(c.steps * c.substeps):
                    theta = step(theta, list(torch.zeros_like(drive).unbind()), c.dt / c.substeps)
            else:
                for _ in range(c.substeps):
                    theta = step(theta, list(drive.unbind()), c.dt / c.substeps)
            phases.append(torch.stack(theta))
        result.append(torch.stack(phases, dim=-1))
    return torch.stack(result)
