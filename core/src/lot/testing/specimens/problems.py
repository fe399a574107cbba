"""Small problems that an optimizer must solve: what they minimize is known, and a step takes no time."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lot.testing.draws import normal


class Quadratic(nn.Module):
    """The squared distance of a tall, a wide and a square matrix, a vector and a scalar from fixed targets."""

    def __init__(self) -> None:
        super().__init__()
        shapes = {"tall": (8, 5), "wide": (5, 8), "square": (6, 6), "vector": (7,), "scalar": ()}
        for name, shape in shapes.items():
            setattr(self, name, nn.Parameter(normal(shape, "quadratic", name)))
            self.register_buffer(f"{name}_target", normal(shape, "target", name))

    def loss(self, _step: int) -> Tensor:
        """The sum of squared distances, a () tensor."""
        distances = [(p - self.get_buffer(f"{name}_target")).square().sum() for name, p in self.named_parameters()]
        return torch.stack(distances).sum()


class Network(nn.Module):
    """A small classifier with the parts of a decoder, under their names: embedding, blocks with norms, head."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(11, 16)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(16), nn.Linear(16, 24), nn.GELU(), nn.Linear(24, 16)) for _ in range(2)
        )
        self.norm = nn.LayerNorm(16)
        self.head = nn.Linear(16, 11, bias=False)
        with torch.no_grad():
            for name, p in self.named_parameters():
                p.copy_(torch.ones_like(p) if p.dim() == 1 else 0.2 * normal(tuple(p.shape), "network", name))

    def loss(self, step: int) -> Tensor:
        """Cross-entropy of (id + 3) modulo 11, a () tensor, over a batch of 32 that differs from step to step."""
        ids = torch.randint(11, (32,), generator=torch.Generator().manual_seed(step))
        x = self.embedding(ids)
        for block in self.blocks:
            x = x + block(x)
        return F.cross_entropy(self.head(self.norm(x)), (ids + 3) % 11)


Problem = Quadratic | Network


def problems() -> Iterator[Problem]:
    """A fresh problem of each class."""
    yield Quadratic()
    yield Network()


def take_step(problem: Problem, optimizer: torch.optim.Optimizer, step: int) -> float:
    """One step of `optimizer` on `problem`; the loss before it."""
    optimizer.zero_grad()
    loss = problem.loss(step)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    return float(loss.detach())
