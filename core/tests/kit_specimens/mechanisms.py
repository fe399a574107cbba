"""Attention whose parts do nothing, or are not what they seem."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from kit_specimens.leaks import Honest
from lot.contracts import Context, Dims, GeneratorFor
from lot.options.declare import NoOptions


class Oscillators(Honest):
    """Honest phases: alpha cos(theta_q - theta_k) joins the score."""

    def __init__(self, config: NoOptions, dims: Dims) -> None:
        super().__init__(config, dims)
        self.drive = nn.Linear(dims.width, dims.heads, bias=False)
        self.alpha = nn.Parameter(torch.ones(dims.heads))
        self._scrambler: torch.Generator | None = None

    def reset_parameters(self, generator_for: GeneratorFor) -> None:
        super().reset_parameters(generator_for)
        nn.init.normal_(self.drive.weight, std=0.02, generator=generator_for("drive.weight"))
        nn.init.ones_(self.alpha)

    def phases(self, x: Tensor) -> Tensor:
        """theta (B, H, T), float32 or wider."""
        with torch.autocast(x.device.type, enabled=False):
            theta = self.drive(x.to(self.drive.weight.dtype)).cumsum(1).transpose(1, 2)
        if self._scrambler is not None:
            theta = 2 * math.pi * torch.rand(theta.shape, generator=self._scrambler).to(theta)
        return theta

    def bias(self, theta: Tensor) -> Tensor:
        """What joins the score, broadcastable to (B, H, T, T)."""
        return self.alpha[:, None, None] * (theta[..., :, None] - theta[..., None, :]).cos()

    def forward(self, x: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        q, k, v = self.heads.split(x, ctx.start)
        theta = self.phases(x)
        score = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]) + self.bias(theta)
        allowed = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).tril()
        y = self.heads.merge(score.masked_fill(~allowed, -torch.inf).softmax(-1) @ v)
        return y, self.signals(theta, score)

    def signals(self, theta: Tensor, score: Tensor) -> dict[str, Tensor]:
        """The signal `phase`, when wanted."""
        return {"phase": theta} if "phase" in self.want else {}

    def can_decode(self) -> bool:
        return False

    @contextlib.contextmanager
    def ablate(self, generator: torch.Generator) -> Iterator[None]:
        """Random phases."""
        self._scrambler = generator
        try:
            yield
        finally:
            self._scrambler = None


class HeadConstant(Oscillators):
    """As published: one number for all keys of a query and head, which softmax cancels."""

    def bias(self, theta: Tensor) -> Tensor:
        return self.alpha[:, None, None] * theta.cos()[..., None]


class DeclaredHeadConstant(HeadConstant):
    """The same, declared."""

    inert = frozenset({"alpha", "drive.weight"})


class NarrowHeadConstant(HeadConstant):
    """The same, computed in float32 whatever comes in: resampling moves the output by float32 rounding."""

    def forward(self, x: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        q, k, v = (tensor.float() for tensor in self.heads.split(x, ctx.start))
        score = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]) + self.bias(self.phases(x)).float()
        allowed = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).tril()
        y = score.masked_fill(~allowed, -torch.inf).softmax(-1) @ v
        return self.heads.merge(y.to(x.dtype)), {}


class NarrowOscillators(Oscillators):
    """Honest, in float32 whatever comes in."""

    def bias(self, theta: Tensor) -> Tensor:
        return super().bias(theta.float()).float().to(theta.dtype)


class DeadParameter(Honest):
    """Has a parameter that nothing reads."""

    def __init__(self, config: NoOptions, dims: Dims) -> None:
        super().__init__(config, dims)
        self.coupling = nn.Parameter(torch.ones(dims.heads))


class CancelledParameter(Honest):
    """Has a parameter whose effect is taken back."""

    def __init__(self, config: NoOptions, dims: Dims) -> None:
        super().__init__(config, dims)
        self.coupling = nn.Parameter(torch.ones(dims.width))

    def forward(self, x: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        y, signals = super().forward(x, ctx)
        return (y + self.coupling) - self.coupling, signals


class TokenAlone(Honest):
    """Maps every token by itself."""

    def forward(self, x: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        q, k, v = self.heads.split(x, ctx.start)
        return self.heads.merge(q + k + v), {}


class FalseInert(Oscillators):
    """Declares a parameter inert that acts."""

    inert = frozenset({"alpha"})


class UnknownInert(Oscillators):
    """Declares a parameter inert that it does not have."""

    inert = frozenset({"beta"})


class DeafState(Oscillators):
    """Its ablation does not reach the output."""

    def phases(self, x: Tensor) -> Tensor:
        return self.drive(x).cumsum(1).transpose(1, 2)


class StuckAblation(Oscillators):
    """Its ablation does not end."""

    @contextlib.contextmanager
    def ablate(self, generator: torch.Generator) -> Iterator[None]:
        self._scrambler = generator
        yield


class LateParameter(Honest):
    """A gate that opens with the steps of training: asleep at step 0, and honest."""

    def __init__(self, config: NoOptions, dims: Dims) -> None:
        super().__init__(config, dims)
        self.gate = nn.Parameter(torch.ones(dims.width))

    def forward(self, x: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        y, signals = super().forward(x, ctx)
        return y + (ctx.step.to(y.dtype) / 1000).clamp(max=1) * self.gate * x, signals


class Detached(Oscillators):
    """The phase is detached, as published: no gradient to the drive."""

    def bias(self, theta: Tensor) -> Tensor:
        return super().bias(theta.detach())


class HalfDetached(Oscillators):
    """Phases are detached on the side of the keys: the drive has a gradient, a wrong one."""

    def bias(self, theta: Tensor) -> Tensor:
        return self.alpha[:, None, None] * (theta[..., :, None] - theta.detach()[..., None, :]).cos()


class RootAtZero(Honest):
    """Divides by the norm of each token, whose derivative at 0 is NaN."""

    def forward(self, x: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        return super().forward(x / (x.square().sum(-1, keepdim=True).sqrt() + 1e-3), ctx)


class Raising(Honest):
    """Raises in every pass."""

    def forward(self, x: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        raise ValueError("seven heads")


class Overflow(Honest):
    """An exponential that overflows once the parameters have moved."""

    def __init__(self, config: NoOptions, dims: Dims) -> None:
        super().__init__(config, dims)
        self.temperature = nn.Parameter(torch.zeros(dims.width))

    def forward(self, x: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        y, signals = super().forward(x, ctx)
        return y + (1000 * self.temperature).exp(), signals
