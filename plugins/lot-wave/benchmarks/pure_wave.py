"""Pure wave attention on features: the linear form against the quadratic one of the same model, and its growth with T."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from lot.random import torch_generator
from lot_cli.bench import Case
from lot_wave.ops.linear import linear_attention
from lot_wave.ops.reference import pure_wave_weights

H, W, D_HEAD = 4, 16, 32
LENGTHS = (64, 128, 256, 512, 1024, 2048, 4096)


def cases() -> Iterator[Case]:
    """Forward and backward at growing T: where the linear form overtakes, and that doubling T doubles its cost."""
    for T in LENGTHS:
        yield Case(
            name=f"linear at T = {T}",
            candidate=_linear(T),
            baseline=_quadratic(T),
            baseline_name="quadratic form",
            note="the crossing is where the ratio passes 1",
        )
    for what in ("time", "memory"):
        yield Case(
            name=f"linear, T = 8192 against T = 4096: {what}",
            candidate=_linear(8192),
            baseline=_linear(4096),
            baseline_name="half the length",
            what=what,
            cost=2.3,
        )


def _inputs(T: int) -> list[torch.Tensor]:
    generator = torch_generator(0, "benchmark", T)
    sine = torch.randn(1, H, T, W, generator=generator).sin()
    return [sine.requires_grad_(), torch.randn(1, H, T, D_HEAD, generator=generator).requires_grad_()]


def _linear(T: int) -> Callable[[], None]:
    sine, v = _inputs(T)

    def run() -> None:
        features = torch.nn.functional.elu(sine) + 1
        torch.autograd.grad(linear_attention(features, features, v, causal=True).sum(), (sine, v))

    return run


def _quadratic(T: int) -> Callable[[], None]:
    sine, v = _inputs(T)
    allowed = torch.ones(T, T, dtype=torch.bool).tril()

    def run() -> None:
        weights = pure_wave_weights(sine, sine, allowed, kernel="elu_plus_one", kernel_on="features")
        torch.autograd.grad((weights @ v).sum(), (sine, v))

    return run
