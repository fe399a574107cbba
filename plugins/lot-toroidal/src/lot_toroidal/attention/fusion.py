"""Mixing platters after attention: o (..., D, p) -> (..., D, p), p channels per platter."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from lot import BadInput, GeneratorFor


def fusion(kind: str, depth: int, rank: int | None, width: int) -> Fusion:
    """The fusion named `kind`, for platters of `width` channels; one platter has nothing to mix.

    Raises BadInput for a rank above the depth.
    """
    if kind == "low_rank" and rank is not None and rank > depth:
        raise BadInput(where="rank", expected=f"at most the depth {depth}", got=rank)
    if depth == 1:
        return Fusion(1)
    if kind == "low_rank":
        return LowRankFusion(depth, max(1, depth // 4) if rank is None else rank)
    if kind == "learned":
        return LearnedFusion(depth)
    return AttentionFusion(depth, width) if kind == "attention" else MeanFusion(depth)


class Fusion(nn.Module):
    """No mixing: what a single platter needs."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.depth = depth

    def reset_parameters(self, generator_for: GeneratorFor) -> None:
        """Nothing to set here."""

    def matrix(self, o: Tensor) -> Tensor:
        """Omega: row k holds the weights with which platter k reads the platters; (D, D), or (..., D, D) where it depends on o."""
        return torch.eye(self.depth, device=o.device, dtype=o.dtype)

    def forward(self, o: Tensor) -> Tensor:
        """o (..., D, p) -> Omega o."""
        if self.depth == 1:
            return o
        matrix = self.matrix(o).to(o.dtype)
        if matrix.dim() > 2:
            return matrix @ o
        # Over all channels of a head at once: a product of rows of D numbers takes longer than one of rows of D p.
        channels = torch.eye(o.shape[-1], dtype=o.dtype, device=o.device)
        return (o.flatten(-2) @ torch.kron(matrix.T.contiguous(), channels)).view(o.shape)


class MeanFusion(Fusion):
    """Every platter becomes the mean of all."""

    def matrix(self, o: Tensor) -> Tensor:
        """1 / D everywhere."""
        return torch.full((self.depth, self.depth), 1 / self.depth, device=o.device, dtype=o.dtype)

    def forward(self, o: Tensor) -> Tensor:
        """The mean over platters, given to each."""
        return o.mean(-2, keepdim=True).expand_as(o)


class LowRankFusion(Fusion):
    """Omega = U V^T / sqrt(r), learned. What leaves a head has rank r over its platters: r / D of its channels' freedom."""

    def __init__(self, depth: int, rank: int) -> None:
        super().__init__(depth)
        self.u, self.v = nn.Parameter(torch.zeros(depth, rank)), nn.Parameter(torch.zeros(depth, rank))

    def reset_parameters(self, generator_for: GeneratorFor) -> None:
        """Entries of variance 1/sqrt(D), so that rows of Omega have length 1 on average: a platter keeps its size."""
        for name, parameter in (("u", self.u), ("v", self.v)):
            nn.init.normal_(parameter, std=self.depth**-0.25, generator=generator_for(name))

    def matrix(self, o: Tensor) -> Tensor:
        """U V^T / sqrt(r)."""
        return self.u @ self.v.T / math.sqrt(self.u.shape[1])


class AttentionFusion(Fusion):
    """Platters of a token attend to each other: Omega = softmax(a b^T / sqrt(p)) of two learned maps a, b of each platter."""

    def __init__(self, depth: int, width: int) -> None:
        super().__init__(depth)
        self.query, self.key = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)

    def reset_parameters(self, generator_for: GeneratorFor) -> None:
        """N(0, 1/p): scores of size one for platters of size one."""
        for name, linear in (("query.weight", self.query), ("key.weight", self.key)):
            nn.init.normal_(linear.weight, std=linear.in_features**-0.5, generator=generator_for(name))

    def matrix(self, o: Tensor) -> Tensor:
        """(..., D, D), rows sum to 1."""
        score = self.query(o) @ self.key(o).transpose(-1, -2) / math.sqrt(o.shape[-1])
        wide = torch.promote_types(score.dtype, torch.float32)
        weights: Tensor = score.to(wide).softmax(-1)
        return weights


class LearnedFusion(Fusion):
    """As published under the name of attention: out_j = sum_i o_i M[i, j], M = softmax(A B^T / sqrt(D)) over rows, A, B (D, D)."""

    def __init__(self, depth: int) -> None:
        super().__init__(depth)
        self.a, self.b = nn.Parameter(torch.zeros(depth, depth)), nn.Parameter(torch.zeros(depth, depth))

    def reset_parameters(self, generator_for: GeneratorFor) -> None:
        """N(0, 1), as published."""
        for name, parameter in (("a", self.a), ("b", self.b)):
            nn.init.normal_(parameter, generator=generator_for(name))

    def matrix(self, o: Tensor) -> Tensor:
        """M^T (D, D), whose columns sum to 1."""
        score = self.a @ self.b.T / math.sqrt(self.depth)
        return score.to(torch.promote_types(score.dtype, torch.float32)).softmax(-1).T
