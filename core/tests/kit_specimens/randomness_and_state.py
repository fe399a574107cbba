"""Attention whose randomness, initial values or state are wrong."""

from __future__ import annotations

import random
from typing import Any

import torch
from torch import Tensor, nn

from kit_specimens.leaks import Honest
from kit_specimens.mechanisms import Oscillators
from lot.contracts import Context, Dims, GeneratorFor
from lot.options.declare import NoOptions


class Counter(Honest):
    """Fades with the number of its calls."""

    calls = 0

    def forward(self, x: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        self.calls += 1
        y, signals = super().forward(x, ctx)
        return y * (1 + 1e-3 * self.calls), signals


class GlobalNoise(Honest):
    """Noise from torch's global generator in evaluation."""

    def forward(self, x: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        y, signals = super().forward(x, ctx)
        return y + 1e-3 * torch.randn_like(y), signals


class PythonNoise(Honest):
    """A random head chosen by Python's global generator, with no effect on the values."""

    def forward(self, x: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        random.random()
        return super().forward(x, ctx)


class TrainingNoise(Honest):
    """Noise from torch's default generator in training only, which the engine re-keys: allowed."""

    def forward(self, x: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        y, signals = super().forward(x, ctx)
        return (y + 1e-3 * torch.randn(y.shape, dtype=y.dtype) if self.training else y), signals


class EternalDropout(Honest):
    """Dropout that knows no evaluation mode."""

    def forward(self, x: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        y, signals = super().forward(x, ctx)
        return nn.functional.dropout(y, self.dims.dropout, training=True), signals


class GlobalInitialization(Honest):
    """Initial values from torch's global generator."""

    def reset_parameters(self, generator_for: GeneratorFor) -> None:
        super().reset_parameters(generator_for)
        nn.init.normal_(self.heads.out.weight, std=0.02)


class UnprefixedInitialization(Honest):
    """Asks for generators by names that lack the child's prefix."""

    def reset_parameters(self, generator_for: GeneratorFor) -> None:
        self.heads.reset_parameters(generator_for)


class AccumulatingInitialization(Honest):
    """A second reset adds to the first."""

    def reset_parameters(self, generator_for: GeneratorFor) -> None:
        before = self.heads.out.bias.detach().clone()
        super().reset_parameters(generator_for)
        with torch.no_grad():
            self.heads.out.bias += before + 1


class Uninitialized(Oscillators):
    """A parameter of unset memory."""

    def __init__(self, config: NoOptions, dims: Dims) -> None:
        super().__init__(config, dims)
        self.alpha = nn.Parameter(torch.empty(dims.heads))

    def reset_parameters(self, generator_for: GeneratorFor) -> None:
        Honest.reset_parameters(self, generator_for)


class HiddenState(Honest):
    """A random projection in a plain attribute, drawn from the seed: it is in no checkpoint."""

    def reset_parameters(self, generator_for: GeneratorFor) -> None:
        super().reset_parameters(generator_for)
        self.mixing = torch.randn(self.dims.width, generator=generator_for("heads.out.bias"))

    def forward(self, x: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        return super().forward(x * self.mixing.to(x), ctx)


class ExtraState(Honest):
    """Python objects in the state."""

    def get_extra_state(self) -> Any:
        return {"calls": 3}

    def set_extra_state(self, state: Any) -> None:
        pass
