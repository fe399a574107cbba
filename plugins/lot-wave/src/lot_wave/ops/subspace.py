"""Singular subspaces of a matrix: by SVD, and tracked cheaply while the matrix moves."""

from __future__ import annotations

import torch
from torch import Tensor

OVERSAMPLING = 16
"""Directions that are tracked beyond the rank: they make the leading ones converge faster (Halko et al., 2011)."""
FIRST_ITERATIONS = 4
"""Power steps on a matrix that is seen for the first time."""


def full_subspaces(weight: Tensor) -> tuple[Tensor, Tensor]:
    """U (m, k) and V (n, k), k = min(m, n), of the thin SVD of `weight` (m, n)."""
    left, _, right = torch.linalg.svd(_at_least_float32(weight), full_matrices=False)
    return left.to(weight.dtype).contiguous(), right.mT.to(weight.dtype).contiguous()


def start_basis(weight: Tensor, rank: int, generator: torch.Generator) -> Tensor:
    """A random basis (n, r + extra) to start tracking the right singular subspace of `weight` (m, n) from."""
    columns = min(rank + OVERSAMPLING, *weight.shape)
    basis = torch.randn(weight.shape[1], columns, generator=generator).to(_at_least_float32(weight))
    for _ in range(FIRST_ITERATIONS - 1):
        basis = _power_step(weight, basis)
    return basis.to(weight.dtype)


def refine_subspaces(weight: Tensor, basis: Tensor, rank: int) -> tuple[Tensor, Tensor, Tensor]:
    """U (m, r) and V (n, r) near the leading singular subspaces of `weight`, and the basis to go on from.

    One step of subspace iteration from `basis` (n, r + extra), then Rayleigh-Ritz: the best r directions within its
    span. Columns are orthonormal; those beyond the numerical rank of `weight`, which rounding alone would choose, are 0.
    """
    wide = _at_least_float32(weight)
    basis = _power_step(weight, basis.to(wide))
    left, small = torch.linalg.qr(wide @ basis)  # (m, c), (c, c)
    inner_left, singular, inner_right = torch.linalg.svd(small)
    there = singular > singular[0] * torch.finfo(wide.dtype).eps * max(weight.shape)
    left, right = left @ (inner_left * there)[:, :rank], basis @ (inner_right.mT * there)[:, :rank]
    # As torch restores the state of an optimizer from a checkpoint, so that a resumed run rounds alike: rows side by side
    # (LAPACK leaves columns so), and in the dtype of the parameter.
    return tuple(part.to(weight.dtype).contiguous() for part in (left, right, basis))  # type: ignore[return-value]


def _power_step(weight: Tensor, basis: Tensor) -> Tensor:
    wide = _at_least_float32(weight)
    return torch.linalg.qr(wide.mT @ (wide @ basis)).Q  # type: ignore[no-any-return]


def _at_least_float32(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def project(gradient: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """U U^T g V V^T, the part of a gradient g (m, n) that lies in both subspaces."""
    return left @ (left.mT @ gradient @ right) @ right.mT
