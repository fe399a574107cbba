"""Heads as the sites of an n-dimensional lattice: which heads are neighbors, and how far apart they are."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor

from lot import BadInput


def resolve_shape(shape: tuple[int, ...] | None, heads: int) -> tuple[int, ...]:
    """`shape`, or the most square 2-D lattice of `heads` sites. Raises BadInput where their number differs."""
    square = next((rows, heads // rows) for rows in range(math.isqrt(heads), 0, -1) if heads % rows == 0)
    if shape is None:
        return square
    if math.prod(shape) != heads:
        raise BadInput(
            where="lattice_shape",
            expected=f"sizes whose product is the number of heads, {heads}",
            got=list(shape),
            fix=f"for example {list(square)}",
        )
    return shape


def neighbor_distances(
    shape: tuple[int, ...], neighborhood: str = "moore", radius: int = 1, boundary: str = "open"
) -> tuple[Tensor, Tensor]:
    """(distance (H, H) float64, neighbor (H, H) bool) of the sites in row-major order; distance 0 where no neighbor.

    The distance is Euclidean, in sites. Neighbors are within `radius` by the largest offset (moore) or by the sum of
    the offsets (von_neumann). On a periodic lattice an offset is the shorter way around, and two sites are neighbors
    once, even if both ways around are equally short. No site is its own neighbor.
    """
    sites = torch.tensor(list(itertools.product(*(range(size) for size in shape))), dtype=torch.float64)  # (H, n)
    offset = (sites[:, None] - sites[None, :]).abs()  # (H, H, n)
    if boundary == "periodic":
        offset = torch.minimum(offset, torch.tensor(shape, dtype=torch.float64) - offset)
    reach = offset.amax(-1) if neighborhood == "moore" else offset.sum(-1)
    neighbor = (reach > 0) & (reach <= radius)
    distance = torch.where(neighbor, offset.square().sum(-1).sqrt(), 0.0)
    return distance, neighbor
