"""Lyapunov exponents by following a small perturbation and renormalizing it (Benettin et al., Meccanica 15, 1980)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

Map = Callable[[Tensor], Tensor]


def local_exponents(
    maps: Iterable[Map], x: Tensor, *, epsilon: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Growth rates (n, B) in nats a map of a small perturbation of x (B, ...), and the states' norms (n + 1, B).

    The perturbation starts in a random direction drawn from `generator`, at `epsilon` times the norm of the state (or of
    the first one, if that is larger); after each map its growth is recorded, and it is brought back to that size along
    the direction in which it then points. The mean of the rates over many maps is the largest Lyapunov exponent. What
    vanishes has the rate of rounding, about the logarithm of the dtype's resolution over epsilon.
    """
    first = _norm(x).clamp(min=torch.finfo(x.dtype).tiny)
    direction = torch.randn(x.shape, generator=generator).to(x)
    direction = direction / _norm(direction)
    rates, norms = [], [_norm(x).flatten()]
    for apply in maps:
        scale = torch.maximum(_norm(x), first)
        image, moved = apply(x), apply(x + epsilon * scale * direction)
        change = moved - image
        size = _norm(change)
        # Half a unit in the last place of the state is what rounding alone can do.
        rounding = 0.5 * torch.finfo(x.dtype).eps * torch.maximum(_norm(image), scale)
        rates.append((torch.maximum(size, rounding) / (epsilon * scale)).log().flatten())
        direction = torch.where(size > 0, change / torch.where(size > 0, size, 1.0), direction)
        x = image
        norms.append(_norm(x).flatten())
    return torch.stack(rates), torch.stack(norms)


def _norm(x: Tensor) -> Tensor:
    """Euclidean norm of each batch member, (B, 1, ...)."""
    flat = torch.linalg.vector_norm(x.flatten(1), dim=1)
    return flat.view(-1, *[1] * (x.dim() - 1))  # type: ignore[no-any-return]
