"""Attention whose forward has the wrong form: shapes, dtypes, or control flow that cannot be compiled."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from kit_specimens.leaks import Honest
from kit_specimens.mechanisms import Oscillators
from lot.contracts import Context


class FixedDtype(Honest):
    """A float32 constant turns float64 into float32."""

    def forward(self, x: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        y, signals = super().forward(x, ctx)
        return y.float(), signals


class NarrowPhases(Oscillators):
    """Phases in the type of autocast."""

    def phases(self, x: Tensor) -> Tensor:
        return self.drive(x).transpose(1, 2)


class RoughSum(Honest):
    """A long sum in bfloat16 under autocast."""

    def forward(self, x: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        y, signals = super().forward(x, ctx)
        angle = 300.0 + self.heads.out(x)
        return y + angle.cos(), signals


class Overwriting(Honest):
    """Changes its input in place."""

    def forward(self, x: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        result = super().forward(x, ctx)
        with torch.no_grad():
            x.mul_(0.5)
        return result


class WrongShape(Honest):
    """Returns heads apart."""

    def forward(self, x: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        y, signals = super().forward(x, ctx)
        return y.unflatten(-1, (4, -1)), signals


class NoTuple(Honest):
    """Returns y alone."""

    def forward(self, x: Tensor, ctx: Context) -> Any:
        return super().forward(x, ctx)[0]


class Contiguous(Honest):
    """Reads memory as if it were contiguous."""

    def forward(self, x: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        return super().forward(x.as_strided(x.shape, (x.shape[1] * x.shape[2], x.shape[2], 1)), ctx)


class LengthOne(Honest):
    """Fails for one token."""

    def forward(self, x: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        if x.shape[1] == 1:
            raise ZeroDivisionError("division by T - 1")
        return super().forward(x, ctx)


class DataDependent(Honest):
    """Branches on a value."""

    def forward(self, x: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        y, signals = super().forward(x, ctx)
        return (y * 2 if float(x.sum()) > 0 else y), signals


class StepOnHost(Honest):
    """Reads the step as a Python number."""

    def forward(self, x: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        y, signals = super().forward(x, ctx)
        return (y * 2 if int(ctx.step) > 3 else y), signals
