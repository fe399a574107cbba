"""Attention whose neutral form is right, or not what it promises."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from kit_specimens.leaks import Honest
from lot.contracts import Attention, Context, Dims, GeneratorFor
from lot.nn import KeyValueCache, Neutralizable
from lot.options.declare import NoOptions


class Biased(Neutralizable, Honest):
    """y + strength, left out when neutral: the honest one."""

    rotary = False

    def __init__(self, config: NoOptions, dims: Dims) -> None:
        super().__init__(config, dims)
        self.strength = nn.Parameter(torch.empty(dims.width))

    def reset_parameters(self, generator_for: GeneratorFor) -> None:
        super().reset_parameters(generator_for)
        nn.init.normal_(self.strength, generator=generator_for("strength"))

    def shift(self) -> Tensor | float:
        """What joins the output (D,)."""
        return 0.0 if self.is_neutral else self.strength

    def forward(self, x: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        y, signals = super().forward(x, ctx)
        return y + self.shift(), signals

    def extend(self, x: Tensor, ctx: Context, cache: KeyValueCache) -> tuple[Tensor, KeyValueCache]:
        y, cache = super().extend(x, ctx, cache)
        return y + self.shift(), cache


class Absent(Honest):
    """Nothing to leave out: vanilla attention itself."""

    def neutral(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()


class LeftIn(Biased):
    """A thousandth of the mechanism stays."""

    def shift(self) -> Tensor | float:
        return 0.001 * self.strength if self.is_neutral else self.strength


class LeftInTraining(Biased):
    """It stays while training."""

    def shift(self) -> Tensor | float:
        return 0.0 if self.is_neutral and not self.training else self.strength


class LeftInDecoding(Biased):
    """It stays while decoding."""

    def extend(self, x: Tensor, ctx: Context, cache: KeyValueCache) -> tuple[Tensor, KeyValueCache]:
        y, cache = super().extend(x, ctx, cache)
        return y + 0.01 * self.strength, cache


class Stuck(Biased):
    """It stays neutral for ever."""

    @contextlib.contextmanager
    def neutral(self) -> Iterator[None]:
        self.is_neutral = True
        yield


class NotNested(Biased):
    """The end of an inner context ends the outer one too."""

    @contextlib.contextmanager
    def neutral(self) -> Iterator[None]:
        self.is_neutral = True
        try:
            yield
        finally:
            self.is_neutral = False


class NoGradient(Biased):
    """The right output, cut off from the graph."""

    def forward(self, x: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        return super().forward(x + 0.1 * (x.detach() - x) if self.is_neutral else x, ctx)


class NoPadding(Biased):
    """Padding is forgotten."""

    def forward(self, x: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        return super().forward(x, Context(ctx.step, ctx.start) if self.is_neutral else ctx)


class NoProjections(Neutralizable, Attention):
    """A neutral form that nothing can be compared with."""

    def __init__(self, config: NoOptions, dims: Dims) -> None:
        super().__init__()
        self.map = nn.Linear(dims.width, dims.width)

    def forward(self, x: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Any]]:
        return self.map(x), {}
