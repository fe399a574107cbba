"""Attention that sees what it should not: later tokens, the length of the sequence, other members of the batch."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lot.builtin.config import VanillaConfig
from lot.builtin.vanilla import Vanilla
from lot.contracts import Context, Dims, GeneratorFor
from lot.nn import attend
from lot.options.declare import NoOptions


class Honest(Vanilla):
    """Vanilla attention, whatever the options."""

    def __init__(self, config: NoOptions, dims: Dims) -> None:
        super().__init__(VanillaConfig(), dims)


class Adding(Honest):
    """y + extra(x)."""

    def extra(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, x: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        y, signals = super().forward(x, ctx)
        return y + self.extra(x), signals


class NoisyTraining(Adding):
    """Honest noise while training, from torch's own generator."""

    def extra(self, x: Tensor) -> Tensor:
        return 0.1 * torch.randn_like(x) if self.training else torch.zeros_like(x)


class Experts(Adding):
    """Each token chooses one of eight experts: causal, and rounded by how many tokens chose the same."""

    def __init__(self, config: NoOptions, dims: Dims) -> None:
        super().__init__(config, dims)
        self.experts = nn.Parameter(torch.zeros(8, dims.width, dims.width))

    def reset_parameters(self, generator_for: GeneratorFor) -> None:
        super().reset_parameters(generator_for)
        nn.init.normal_(self.experts, std=0.1, generator=generator_for("experts"))

    def extra(self, x: Tensor) -> Tensor:
        y = torch.zeros_like(x)
        choice = x[..., :8].argmax(-1)
        for number, expert in enumerate(self.experts):
            y[choice == number] = (x[choice == number] @ expert.to(x.dtype)).to(x.dtype)
        return y

    def can_decode(self) -> bool:
        return False


class FutureMean(Adding):
    """Adds a little of the mean over all positions."""

    def extra(self, x: Tensor) -> Tensor:
        return 1e-3 * x.mean(1, keepdim=True)


class SequenceStatistic(Honest):
    """Divides its input by the standard deviation over the whole sequence."""

    def forward(self, x: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        return super().forward(x / (x.square().mean(1, keepdim=True) + 1e-5).sqrt(), ctx)


class DetachedLeak(Adding):
    """The future in the values, not in the gradient."""

    def extra(self, x: Tensor) -> Tensor:
        return 1e-3 * x.mean(1, keepdim=True).detach()


class GradientLeak(Adding):
    """The future in the gradient, not in the values: f - f.detach() is 0."""

    def extra(self, x: Tensor) -> Tensor:
        future = x.flip(1).cumsum(1).flip(1)
        return future - future.detach()


class TrainingLeak(Adding):
    """Leaks in training mode only."""

    def extra(self, x: Tensor) -> Tensor:
        return (1e-3 if self.training else 0.0) * x.mean(1, keepdim=True)


class GatedLeak(Adding):
    """Leaks through a gate that is closed at first."""

    def __init__(self, config: NoOptions, dims: Dims) -> None:
        super().__init__(config, dims)
        self.gate = nn.Parameter(torch.zeros(()))

    def extra(self, x: Tensor) -> Tensor:
        return self.gate * x.mean(1, keepdim=True)


class BlockBorderLeak(Honest):
    """The last query of each block of 64 sees the first key of the next one."""

    def forward(self, x: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        q, k, v = self.heads.split(x, ctx.start)
        i = torch.arange(x.shape[1])
        allowed = (i[None, :] <= i[:, None]) | ((i[:, None] % 64 == 63) & (i[None, :] == i[:, None] + 1))
        return self.heads.merge(nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=allowed)), {}


class LargeTokenLeak(Adding):
    """A far threshold on the future: only an extreme later token shows it, and no gradient does."""

    def extra(self, x: Tensor) -> Tensor:
        return 1e-3 * (x.abs().amax((1, 2), keepdim=True) > 50).to(x.dtype)


class FiniteMask(Honest):
    """Masks the future by subtracting 30 instead of infinity."""

    def forward(self, x: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        q, k, v = self.heads.split(x, ctx.start)
        T = x.shape[1]
        mask = -30.0 * torch.ones(T, T, dtype=x.dtype).triu(1)
        return self.heads.merge(nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)), {}


class LengthScale(Honest):
    """Scales its output by the length of the sequence."""

    def forward(self, x: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        y, signals = super().forward(x, ctx)
        return y * (1 + 0.01 * x.shape[1]), signals


class BatchMean(Adding):
    """Adds the mean over the batch."""

    def extra(self, x: Tensor) -> Tensor:
        return 1e-3 * x.mean(0, keepdim=True)


class BatchGradient(Adding):
    """Other members of the batch in the gradient only."""

    def extra(self, x: Tensor) -> Tensor:
        mean = x.mean(0, keepdim=True)
        return mean - mean.detach()


class BatchNorm(Honest):
    """Batch normalization before attention: crosses batch and time in training, nothing in evaluation."""

    def __init__(self, config: NoOptions, dims: Dims) -> None:
        super().__init__(config, dims)
        self.norm = nn.BatchNorm1d(dims.width)

    def forward(self, x: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        return super().forward(self.norm(x.transpose(1, 2)).transpose(1, 2), ctx)


class CarriedState(Adding):
    """Phases carried over from one batch to the next."""

    carried: Tensor | float = 0.0

    def extra(self, x: Tensor) -> Tensor:
        before = self.carried
        self.carried = before + x[:1, :1].detach()
        return before + torch.zeros_like(x)


class PaddedState(Honest):
    """Masks padded keys, but a running mean takes padded tokens in."""

    def forward(self, x: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        y, signals = super().forward(x, ctx)
        return y + 1e-2 * x.cumsum(1), signals


class FinitePaddingMask(Honest):
    """Masks padded keys by subtracting 30 instead of infinity."""

    def forward(self, x: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        q, k, v = self.heads.split(x, ctx.start)
        T = x.shape[1]
        mask = torch.full((T, T), -torch.inf).triu(1)[None, None]
        if ctx.padding is not None:
            mask = mask - 30.0 * ctx.padding[:, None, None, :].float() * (1 - torch.eye(T))
        return self.heads.merge(nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask.to(q.dtype))), {}


class NothingButPadding(Honest):
    """Divides by zero where there is no token but padding."""

    def forward(self, x: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        y, signals = super().forward(x, ctx)
        return (y if ctx.padding is None else y / (~ctx.padding).any(1)[:, None, None].to(y.dtype)), signals


class NoPadding(Honest):
    """Ignores padding altogether."""

    def forward(self, x: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        q, k, v = self.heads.split(x, ctx.start)
        return self.heads.merge(attend(q, k, v, causal=True)), {}


class NonCausal(Honest):
    """Sees the future and says so."""

    def __init__(self, config: NoOptions, dims: Dims) -> None:
        super().__init__(config, dims)
        self.causal = False

    def can_decode(self) -> bool:
        return False


class Rounding(Adding):
    """Causal up to rounding, as a transform over the whole sequence is, and declares it."""

    tolerance = 1e-5

    def extra(self, x: Tensor) -> Tensor:
        return 1e-8 * x.sum(1, keepdim=True)


class UndeclaredRounding(Rounding):
    """Causal up to rounding, undeclared."""

    tolerance = 0.0


class ExcessiveTolerance(FutureMean):
    """Declares its leak to be rounding."""

    tolerance = 0.1
