"""Attention that is broken in a part of the space of configuration only: one layer, one length, one size of the batch, ..."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from kit_specimens.leaks import Honest
from lot.contracts import Context, Dims
from lot.nn import attend
from lot.options.declare import NoOptions


class Somewhere(Honest):
    """Honest, but for what `extra` adds where `here` holds."""

    def here(self, x: Tensor, ctx: Context) -> bool:
        raise NotImplementedError

    def extra(self, x: Tensor, ctx: Context) -> Tensor:
        """A little of the next token."""
        return 1e-3 * torch.cat((x[:, 1:], x[:, :1]), dim=1)

    def forward(self, x: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        y, signals = super().forward(x, ctx)
        return (y + self.extra(x, ctx) if self.here(x, ctx) else y), signals


class FirstLayer(Somewhere):
    def here(self, x: Tensor, ctx: Context) -> bool:
        return self.dims.layer == 0


class LastLayer(Somewhere):
    def here(self, x: Tensor, ctx: Context) -> bool:
        return self.dims.layer == self.dims.layers - 1


class OnlyLayer(Somewhere):
    def here(self, x: Tensor, ctx: Context) -> bool:
        return self.dims.layers == 1


class DeepModel(Somewhere):
    def here(self, x: Tensor, ctx: Context) -> bool:
        return self.dims.layers >= 6


class OneHead(Somewhere):
    def here(self, x: Tensor, ctx: Context) -> bool:
        return self.dims.heads == 1


class EightHeads(Somewhere):
    def here(self, x: Tensor, ctx: Context) -> bool:
        return self.dims.heads == 8


class Length64(Somewhere):
    def here(self, x: Tensor, ctx: Context) -> bool:
        return x.shape[1] == 64


class Length17(Somewhere):
    def here(self, x: Tensor, ctx: Context) -> bool:
        return x.shape[1] == 17


class Multiple96(Somewhere):
    def here(self, x: Tensor, ctx: Context) -> bool:
        return x.shape[1] % 96 == 0


class Longer(Somewhere):
    def here(self, x: Tensor, ctx: Context) -> bool:
        return x.shape[1] > 192


class Length256(Somewhere):
    def here(self, x: Tensor, ctx: Context) -> bool:
        return x.shape[1] == 256


class OneSequence(Somewhere):
    def here(self, x: Tensor, ctx: Context) -> bool:
        return len(x) == 1


class FiveSequences(Somewhere):
    def here(self, x: Tensor, ctx: Context) -> bool:
        return len(x) == 5


class SixteenSequences(Somewhere):
    def here(self, x: Tensor, ctx: Context) -> bool:
        return len(x) == 16


class AfterTheFirstStep(Somewhere):
    def here(self, x: Tensor, ctx: Context) -> bool:
        return bool(ctx.step > 0)


class StepOne(Somewhere):
    def here(self, x: Tensor, ctx: Context) -> bool:
        return bool(ctx.step == 1)


class Late(Somewhere):
    def here(self, x: Tensor, ctx: Context) -> bool:
        return bool(ctx.step > 1000)


class LateTraining(Somewhere):
    def here(self, x: Tensor, ctx: Context) -> bool:
        return self.training and bool(ctx.step > 1000)


class WithPadding(Somewhere):
    def here(self, x: Tensor, ctx: Context) -> bool:
        return ctx.padding is not None


class LateWithPadding(Somewhere):
    def here(self, x: Tensor, ctx: Context) -> bool:
        return ctx.padding is not None and bool(ctx.step > 1000)


class Rotary(Somewhere):
    def here(self, x: Tensor, ctx: Context) -> bool:
        return self.dims.positions == "rotary"


class WithDropout(Somewhere):
    def here(self, x: Tensor, ctx: Context) -> bool:
        return self.training and self.dims.dropout > 0


class Double(Somewhere):
    def here(self, x: Tensor, ctx: Context) -> bool:
        return x.dtype == torch.float64


class FirstLayerTraining(Somewhere):
    def here(self, x: Tensor, ctx: Context) -> bool:
        return self.dims.layer == 0 and self.training


class FarParameters(Somewhere):
    """Leaks once its parameters are large."""

    def __init__(self, config: NoOptions, dims: Dims) -> None:
        super().__init__(config, dims)
        self.gate = nn.Parameter(torch.zeros(dims.width))

    def here(self, x: Tensor, ctx: Context) -> bool:
        return bool(self.gate.detach().abs().mean() > 0.6)


class GradientAt64(Length64):
    """The next token in the gradient only."""

    def extra(self, x: Tensor, ctx: Context) -> Tensor:
        future = super().extra(x, ctx)
        return future - future.detach()


class NeighborOfEight(Somewhere):
    """Each sequence of eight sees the one before it."""

    def here(self, x: Tensor, ctx: Context) -> bool:
        return len(x) == 8

    def extra(self, x: Tensor, ctx: Context) -> Tensor:
        return 1e-3 * x.roll(1, 0)


class CountsTokens(Somewhere):
    """Knows how many tokens are no padding: it sees where the text ends."""

    def here(self, x: Tensor, ctx: Context) -> bool:
        return ctx.padding is not None

    def extra(self, x: Tensor, ctx: Context) -> Tensor:
        assert ctx.padding is not None
        return 1e-3 * (~ctx.padding).sum(1)[:, None, None] * torch.ones_like(x)


class LatePaddedState(Somewhere):
    """Late in training, padded tokens drive a running sum."""

    def here(self, x: Tensor, ctx: Context) -> bool:
        return bool(ctx.step > 1000)

    def extra(self, x: Tensor, ctx: Context) -> Tensor:
        return 1e-2 * x.cumsum(1)


class LateState(Somewhere):
    """From the second step on, something of the last call."""

    before: Tensor | float = 0.0

    def here(self, x: Tensor, ctx: Context) -> bool:
        return bool(ctx.step > 0)

    def extra(self, x: Tensor, ctx: Context) -> Tensor:
        before, self.before = self.before, x.detach().mean()
        return before + torch.zeros_like(x)


class LongScale(Somewhere):
    """Scales what it gives for long sequences by their length."""

    def here(self, x: Tensor, ctx: Context) -> bool:
        return x.shape[1] > 192

    def extra(self, x: Tensor, ctx: Context) -> Tensor:
        return 1e-2 * x.shape[1] * x


class PaddedScale(Somewhere):
    """Scales by the length, where there is padding."""

    def here(self, x: Tensor, ctx: Context) -> bool:
        return ctx.padding is not None

    def extra(self, x: Tensor, ctx: Context) -> Tensor:
        return 1e-2 * x.shape[1] * x


class NarrowWithOneHead(Honest):
    """Gives float32 whatever comes in, if it has one head."""

    def forward(self, x: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        y, signals = super().forward(x, ctx)
        return (y.float() if self.dims.heads == 1 else y), signals


class SqueezedBatch(Honest):
    """Drops the dimension of the batch of a single longer sequence."""

    def forward(self, x: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        y, signals = super().forward(x, ctx)
        return (y.squeeze(0) if x.shape[1] > 1 and x.shape[1] != self.dims.max_len else y), signals


class LateInfinity(Somewhere):
    """A gradient at the root of 0, late in training."""

    def here(self, x: Tensor, ctx: Context) -> bool:
        return bool(ctx.step > 1000)

    def extra(self, x: Tensor, ctx: Context) -> Tensor:
        return (0.0 * x).abs().sqrt()


class RemembersTraining(Honest):
    """Adds the mean of the last training batch in evaluation."""

    kept: Tensor | None = None

    def forward(self, x: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        y, signals = super().forward(x, ctx)
        if self.training:
            self.kept = x.detach().mean((0, 1))
        elif self.kept is not None:
            y = y + self.kept
        return y, signals


class RecognizesTraining(Honest):
    """Answers what it saw in training from a table."""

    def __init__(self, config: NoOptions, dims: Dims) -> None:
        super().__init__(config, dims)
        self.table: dict[bytes, int] = {}

    def forward(self, x: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        y, signals = super().forward(x, ctx)
        key = x.detach().double().sum().numpy().tobytes()
        if self.training:
            self.table[key] = 1
            return y, signals
        return y + self.table.get(key, 0), signals


class RemembersInBuffer(Honest):
    """A running mean of what training showed, in a buffer."""

    def __init__(self, config: NoOptions, dims: Dims) -> None:
        super().__init__(config, dims)
        self.register_buffer("mean", torch.zeros(dims.width))

    def forward(self, x: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        y, signals = super().forward(x, ctx)
        if self.training:
            with torch.no_grad():
                self.mean += 0.1 * (x.mean((0, 1)) - self.mean)
            return y, signals
        return y + self.mean, signals


class ProductOfZeros(Honest):
    """a b x, where both factors begin at 0."""

    def __init__(self, config: NoOptions, dims: Dims) -> None:
        super().__init__(config, dims)
        self.a, self.b = nn.Parameter(torch.zeros(dims.width)), nn.Parameter(torch.zeros(dims.width))

    def forward(self, x: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        y, signals = super().forward(x, ctx)
        return y + self.a * self.b * x, signals


class DeclaredProduct(ProductOfZeros):
    """The same, declared: but the kit moves parameters, and then both act."""

    inert = frozenset({"a", "b"})


class OpensFirst(ProductOfZeros):
    """Honest: one factor begins at 0, so that the other learns a step later."""

    def can_decode(self) -> bool:
        return False

    def __init__(self, config: NoOptions, dims: Dims) -> None:
        super().__init__(config, dims)
        self.b = nn.Parameter(torch.ones(dims.width))


class Gated(Honest):
    """strength * gate * x, where `on` says in which mode."""

    strength = 1.0

    def can_decode(self) -> bool:
        return False

    def __init__(self, config: NoOptions, dims: Dims) -> None:
        super().__init__(config, dims)
        self.gate = nn.Parameter(torch.zeros(dims.width))

    def on(self) -> bool:
        return True

    def forward(self, x: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        y, signals = super().forward(x, ctx)
        return (y + self.strength * self.gate * x if self.on() else y), signals


class TrainingOnly(Gated):
    def on(self) -> bool:
        return self.training


class EvaluationOnly(Gated):
    def on(self) -> bool:
        return not self.training


class SmallEffect(Gated):
    strength = 1e-5


class ByLength(Honest):
    """Turns every token by its place on a ring as long as the sequence at hand, and says so."""

    depends_on_length = True

    def forward(self, x: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        angle = 2 * torch.pi * torch.arange(x.shape[1], device=x.device) / x.shape[1]
        return super().forward(x * angle.cos()[:, None].to(x.dtype), ctx)

    def can_decode(self) -> bool:
        return False


class UndeclaredByLength(ByLength):
    depends_on_length = False


class ByLengthWithCache(ByLength):
    def can_decode(self) -> bool:
        return True


class ByLengthLeaking(ByLength):
    """Declares that it depends on the length, and sees the future beside."""

    def forward(self, x: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        y, signals = super().forward(x, ctx)
        return y + 1e-3 * x.mean(1, keepdim=True), signals


class Spiking(Honest):
    """A spike where a drive is above 0, with the gradient of a sigmoid: straight through, and declared."""

    straight_through = "a spike by a sigmoid"

    def can_decode(self) -> bool:
        return False

    def __init__(self, config: NoOptions, dims: Dims) -> None:
        super().__init__(config, dims)
        self.drive = nn.Parameter(torch.ones(dims.width))

    def forward(self, x: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        soft = (self.drive * x).sigmoid()
        spike = (self.drive * x > 0).to(x.dtype)
        y, signals = super().forward(x, ctx)
        return y + (spike - soft).detach() + soft, signals


class UndeclaredSpiking(Spiking):
    straight_through = ""


class Windowed(Honest):
    """Honest: each query sees the last 16 tokens, and no padding."""

    def mask(self, x: Tensor, ctx: Context) -> Tensor:
        i = torch.arange(x.shape[1], device=x.device)
        near = (i[None, :] <= i[:, None]) & (i[None, :] > i[:, None] - 16)
        if ctx.padding is None:
            return near
        return (near & ~ctx.padding[:, None, :]) | torch.eye(len(i), dtype=torch.bool, device=x.device)

    def bias(self, x: Tensor) -> Tensor | float:
        return 0.0

    def forward(self, x: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        q, k, v = self.heads.split(x, ctx.start)
        mask = self.mask(x, ctx)
        score = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5 + self.bias(x)
        score = score.masked_fill(~(mask if mask.dim() == 2 else mask[:, None]), -torch.inf)
        return self.heads.merge(score.softmax(-1) @ v), {}

    def can_decode(self) -> bool:
        return False


class Alibi(Windowed):
    """Honest: a penalty on the distance, of another slope in each head."""

    def mask(self, x: Tensor, ctx: Context) -> Tensor:
        T = x.shape[1]
        earlier = torch.ones(T, T, dtype=torch.bool, device=x.device).tril()
        if ctx.padding is None:
            return earlier
        return (earlier & ~ctx.padding[:, None, :]) | torch.eye(T, dtype=torch.bool, device=x.device)

    def bias(self, x: Tensor) -> Tensor:
        i = torch.arange(x.shape[1], device=x.device, dtype=x.dtype)
        slope = 2.0 ** -torch.arange(1, self.dims.heads + 1, device=x.device, dtype=x.dtype)
        return -slope[:, None, None] * (i[:, None] - i[None, :]).clamp(min=0)


class Convolution(Honest):
    """Honest: a causal convolution over four tokens, which leaves padding out."""

    def __init__(self, config: NoOptions, dims: Dims) -> None:
        super().__init__(config, dims)
        self.kernel = nn.Parameter(torch.ones(4, dims.width) / 4)

    def forward(self, x: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        if ctx.padding is not None:
            x = x.masked_fill(ctx.padding[..., None], 0.0)
        shifts = [nn.functional.pad(x, (0, 0, n, 0))[:, : x.shape[1]] * self.kernel[n] for n in range(4)]
        return super().forward(torch.stack(shifts).sum(0), ctx)

    def can_decode(self) -> bool:
        return False


class Decay(Honest):
    """Honest: a state that decays by a learned rate, in a loop over positions; padding passes it by."""

    def __init__(self, config: NoOptions, dims: Dims) -> None:
        super().__init__(config, dims)
        self.rate = nn.Parameter(torch.ones(dims.width))

    def forward(self, x: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        keep, state, found = self.rate.sigmoid(), torch.zeros_like(x[:, 0]), []
        for t in range(x.shape[1]):
            after = keep * state + (1 - keep) * x[:, t]
            state = after if ctx.padding is None else torch.where(ctx.padding[:, t, None], state, after)
            found.append(state)
        y, signals = super().forward(x, ctx)
        return y + torch.stack(found, dim=1), signals

    def can_decode(self) -> bool:
        return False


class ShortRing(Honest):
    """Its cache holds the last 128 tokens, although attention looks at all."""

    def extend(self, x: Tensor, ctx: Context, cache: Any) -> tuple[Tensor, Any]:
        q, k, v = self.heads.split(x, ctx.start)
        cache.append(k, v, padding=ctx.padding)
        keys, values, _ = cache.content(q.dtype)
        Tq, Tk = q.shape[2], keys.shape[2]
        i, j = torch.arange(Tk - Tq, Tk)[:, None], torch.arange(Tk)[None, :]
        mask = (j <= i) & (j > i - 128)
        return self.heads.merge(nn.functional.scaled_dot_product_attention(q, keys, values, attn_mask=mask)), cache


class DropsWeights(Honest):
    """Honest dropout of attention weights."""

    def forward(self, x: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        q, k, v = self.heads.split(x, ctx.start)
        dropout = self.dims.dropout if self.training else 0.0
        return self.heads.merge(attend(q, k, v, causal=True, padding=ctx.padding, dropout=dropout)), {}
