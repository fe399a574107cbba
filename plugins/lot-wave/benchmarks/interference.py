"""Interference attention against its plain formula and against vanilla attention: H = 4, W = 16, T = 1024, forward and backward."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from lot import Context, Dims, registry
from lot.random import initialize, torch_generator
from lot_cli.bench import Case
from lot_wave.attention.interference import InterferenceAttention
from lot_wave.config import InterferenceConfig
from lot_wave.ops.linear import linear_attention
from lot_wave.ops.pairwise import pairwise_attention
from lot_wave.ops.reference import Evolution, Normalize, interference_weights
from lot_wave.ops.waves import Waves

B, H, W, T, D = 1, 4, 16, 1024, 256


def cases() -> Iterator[Case]:
    """Time and memory of both evolutions against the formula, and of fused `softmax` against vanilla attention."""
    for normalize in ("row", "energy", "softmax"):
        naive = _naive("pairwise", normalize)
        yield Case(
            name=f"pairwise, {normalize}: time",
            candidate=_pairwise(normalize),
            baseline=naive,
            baseline_name="O(T^2 W) formula",
            speedup=6,
        )
    yield Case(
        name="pairwise, row: memory",
        candidate=_pairwise("row"),
        baseline=_naive("pairwise", "row"),
        baseline_name="O(T^2 W) formula",
        what="memory",
        speedup=50,
    )
    for normalize in ("row", "energy", "softmax"):
        yield Case(
            name=f"evolved, {normalize}: time",
            candidate=_evolved(normalize),
            baseline=_naive("evolved", normalize),
            baseline_name="O(T^2 W) formula",
            speedup=30,
        )
    yield Case(
        name="evolved, row: memory",
        candidate=_evolved("row"),
        baseline=_naive("evolved", "row"),
        baseline_name="O(T^2 W) formula",
        what="memory",
        speedup=50,
    )
    for batch in (1, 4):
        dims = Dims(width=D, heads=H, max_len=T, vocab_size=2)
        config = InterferenceConfig(waves=W, evolution="evolved", normalize="softmax")
        yield Case(
            name=f"evolved, softmax, whole module, batch {batch}",
            candidate=_module(InterferenceAttention(config, dims), batch),
            baseline=_module(registry().get("attention", "vanilla").build(dims), batch),
            baseline_name="vanilla attention",
            cost=1.3,
        )


def _inputs() -> tuple[Waves, Tensor]:
    generator = torch_generator(0, "benchmark")
    normal = [torch.randn(B, H, T, W, generator=generator) for _ in range(3)]
    v = torch.randn(B, H, T, D // H, generator=generator)
    waves = Waves(normal[0].exp(), 0.3 * normal[1], normal[2])
    return Waves(*(part.requires_grad_() for part in waves)), v.requires_grad_()


def _both_ways(mix: Callable[[Waves, Tensor], Tensor]) -> Callable[[], None]:
    waves, v = _inputs()

    def run() -> None:
        torch.autograd.grad(mix(waves, v).sum(), [*waves, v])

    return run


def _naive(evolution: Evolution, normalize: Normalize) -> Callable[[], None]:
    allowed = torch.ones(T, T, dtype=torch.bool).tril()
    return _both_ways(
        lambda waves, v: interference_weights(waves, waves, allowed, evolution=evolution, normalize=normalize) @ v
    )


def _pairwise(normalize: Normalize) -> Callable[[], None]:
    return _both_ways(lambda waves, v: pairwise_attention(waves, waves, v, normalize=normalize, causal=True))


def _evolved(normalize: Normalize) -> Callable[[], None]:
    """The evolved attention between given waves, without projections."""
    dims = Dims(width=D, heads=H, max_len=T, vocab_size=2)
    module = InterferenceAttention(InterferenceConfig(waves=W, evolution="evolved", normalize=normalize), dims)

    def mix(waves: Waves, v: Tensor) -> Tensor:
        if module.linear:
            return linear_attention(*module.features(waves, waves, 0), v, causal=True)
        return module.mix(waves, waves, v, 0, None)

    return _both_ways(mix)


def _module(module: nn.Module, batch: int) -> Callable[[], None]:
    initialize(module, 0)
    x = torch.randn(batch, T, D, generator=torch_generator(0, "benchmark", "x")).requires_grad_()
    ctx = Context()
    parameters = [x, *module.parameters()]

    def run() -> None:
        torch.autograd.grad(module(x, ctx)[0].sum(), parameters)

    return run
