"""Lattice attention against vanilla: the score term stays on fused attention, and memory grows linearly with T.

The phase term rides along as two extra channels a head, padded to a multiple of 8, so a head of 64 becomes one of 72. What
grows with T x T would show at once: 4096 x 4096 scores of 4 heads alone are 256 MiB.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

import lot
from lot_cli.bench import Case

HEADS, WIDTH, LENGTH = 4, 256, 4096


def module(name: str, length: int) -> tuple[torch.nn.Module, torch.Tensor]:
    """An attention and its input x (1, length, WIDTH)."""
    dims = lot.Dims(width=WIDTH, heads=HEADS, max_len=length, vocab_size=16)
    return lot.registry().get("attention", name).build(dims), torch.randn(1, length, WIDTH, requires_grad=True)


def both_ways(name: str, length: int) -> Callable[[], None]:
    """Forward and backward."""
    attention, x = module(name, length)

    def run() -> None:
        y, _ = attention(x, lot.Context())
        y.sum().backward()
        x.grad = None
        attention.zero_grad()

    return run


def fused_part(name: str, length: int) -> Callable[[], None]:
    """Forward and backward of the attention proper: everything but the phases."""
    from lot.nn import attend

    attention, x = module(name, length)
    with torch.no_grad():
        q, k, v = attention.heads.split(x)
        features = {}
        if name == "lattice":
            on_query, on_key = attention.score_features(attention.phases(x))
            features = {"query_features": on_query, "key_features": on_key}
    leaves = [tensor.detach().clone().requires_grad_() for tensor in (q, k, v)]

    def run() -> None:
        attend(*leaves, causal=True, **features).sum().backward()
        for leaf in leaves:
            leaf.grad = None

    return run


def cases() -> Iterator[Case]:
    """Time of the attention part, and peak memory of the whole, forward and backward."""
    yield Case(
        name=f"lattice, attention part, H={HEADS}, d={WIDTH // HEADS}, T={LENGTH}",
        candidate=fused_part("lattice", LENGTH),
        baseline=fused_part("vanilla", LENGTH),
        baseline_name="vanilla",
        cost=1.5,
        note="a stored T x T bias costs several times as much",
    )
    yield Case(
        name=f"lattice, whole, T={LENGTH}",
        what="memory",
        candidate=both_ways("lattice", LENGTH),
        baseline=both_ways("vanilla", LENGTH),
        baseline_name="vanilla",
        cost=1.6,
    )
    yield Case(
        name=f"lattice, whole, T={LENGTH} against T={LENGTH // 2}",
        what="memory",
        candidate=both_ways("lattice", LENGTH),
        baseline=both_ways("lattice", LENGTH // 2),
        baseline_name="half the length",
        cost=2.1,
        note="2 is linear, 4 would be quadratic",
    )
