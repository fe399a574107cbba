"""A step of the wave-native optimizer against torch's foreach AdamW, on the parameters of a 12 x 768 decoder."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import nn

from lot.random import torch_generator
from lot_cli.bench import Case
from lot_wave.wave_native import WaveNative

WIDTH, LAYERS = 768, 12
SHAPES = ((3 * WIDTH, WIDTH), (WIDTH, WIDTH), (4 * WIDTH, WIDTH), (WIDTH, 4 * WIDTH))


def cases() -> Iterator[Case]:
    """Tracked subspaces of rank 64 and 32, renewed in turns, so that one step is an average one; and the SVD form."""
    for rank in (64, 32):
        yield Case(
            name=f"rank {rank}, renewed every 50 steps",
            candidate=_step(lambda p, rank=rank: WaveNative(p, lr=1e-6, rank=rank, refresh=50, weight_decay=0.01)),
            baseline=_step(lambda p: torch.optim.AdamW(p, lr=1e-6, foreach=True)),
            baseline_name="AdamW (foreach)",
            cost=1.5,
        )
    yield Case(
        name="full thin SVD at every step (published), one layer",
        candidate=_step(lambda p: WaveNative(p, lr=1e-6, rank=None), layers=1),
        baseline=_step(lambda p: torch.optim.AdamW(p, lr=1e-6, foreach=True), layers=1),
        baseline_name="AdamW (foreach)",
    )
    yield Case(
        name="rank 64, one layer",
        candidate=_step(lambda p: WaveNative(p, lr=1e-6, rank=64, refresh=50), layers=1),
        baseline=_step(lambda p: WaveNative(p, lr=1e-6, rank=None), layers=1),
        baseline_name="full thin SVD (published)",
        speedup=10,
    )


def _step(make: Callable[[list[nn.Parameter]], torch.optim.Optimizer], layers: int = LAYERS) -> Callable[[], object]:
    generator = torch_generator(0, "benchmark", "parameters")
    parameters = []
    for _ in range(layers):
        for shape in (*SHAPES, *((rows,) for rows, _ in SHAPES), (WIDTH,), (WIDTH,)):
            p = nn.Parameter(0.02 * torch.randn(shape, generator=generator))
            p.grad = 1e-3 * torch.randn(shape, generator=generator)
            parameters.append(p)
    return make(parameters).step
