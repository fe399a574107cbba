"""Attention that computes the right thing in the wrong way."""

from __future__ import annotations

import random
from typing import Any

import torch
from torch import Tensor, nn

from kit_specimens.leaks import Honest
from kit_specimens.mechanisms import Oscillators
from lot.contracts import Context, Dims, GeneratorFor
from lot.nn import KeyValueCache
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


class UnaskedSignals(Oscillators):
    """Gives phases to everybody."""

    def signals(self, theta: Tensor, score: Tensor) -> dict[str, Tensor]:
        return {"phase": theta}


class AllSignals(Oscillators):
    """Gives everything as soon as anything is wanted."""

    def signals(self, theta: Tensor, score: Tensor) -> dict[str, Tensor]:
        return {"phase": theta, "attention": score.tril().softmax(-1).tril()} if self.want else {}


class UndeclaredSignal(Oscillators):
    """Gives the force, which its component does not declare."""

    def signals(self, theta: Tensor, score: Tensor) -> dict[str, Tensor]:
        found = super().signals(theta, score)
        return {**found, "coupling_force": theta} if "coupling_force" in self.want else found


class MisshapenSignal(Oscillators):
    """Phases with heads last."""

    def signals(self, theta: Tensor, score: Tensor) -> dict[str, Tensor]:
        return {"phase": theta.transpose(1, 2)} if "phase" in self.want else {}


class DetachedSignal(Oscillators):
    """Phases without their graph."""

    def signals(self, theta: Tensor, score: Tensor) -> dict[str, Tensor]:
        return {"phase": theta.detach()} if "phase" in self.want else {}


class ConstantSignal(Oscillators):
    """A signal that depends on nothing has no graph, and needs none."""

    def signals(self, theta: Tensor, score: Tensor) -> dict[str, Tensor]:
        return {"natural_frequency": torch.ones(self.dims.heads)} if "natural_frequency" in self.want else {}


class SilentSignal(Oscillators):
    """Declares phases and never gives them."""

    def signals(self, theta: Tensor, score: Tensor) -> dict[str, Tensor]:
        return {}


class UnmaskedSignal(Oscillators):
    """Weights as they would be without a mask."""

    def signals(self, theta: Tensor, score: Tensor) -> dict[str, Tensor]:
        return {"attention": score.softmax(-1)} if "attention" in self.want else {}


class SignalChangesOutput(Oscillators):
    """Another formula while the signal is wanted."""

    def phases(self, x: Tensor) -> Tensor:
        theta = super().phases(x)
        return theta.remainder(3.0) if "phase" in self.want else theta


class FalseRotary(Honest):
    """Says that it turns queries and keys, and does not."""

    def __init__(self, config: NoOptions, dims: Dims) -> None:
        super().__init__(config, dims)
        self.heads.rotary = None


class LateDecoding(Honest):
    """Decodes each token one position late under rotary positions."""

    def decode(self, x: Tensor, ctx: Context, cache: KeyValueCache) -> tuple[Tensor, KeyValueCache]:
        return self.prefill(x, Context(ctx.step, max(0, ctx.start - 1), ctx.padding), cache)


class ForgetfulDecoding(Honest):
    """Decodes from the last eight tokens only."""

    def decode(self, x: Tensor, ctx: Context, cache: KeyValueCache) -> tuple[Tensor, KeyValueCache]:
        q, k, v = self.heads.split(x, ctx.start)
        cache.append(k, v)
        short = KeyValueCache(cache.k[:, :, : cache.length][:, :, -8:], cache.v[:, :, : cache.length][:, :, -8:])
        short.length = short.k.shape[2]
        return self.heads.merge(short.attend(q)), cache


class NonCausalPrefill(Honest):
    """A prompt whose tokens see each other."""

    def prefill(self, x: Tensor, ctx: Context, cache: KeyValueCache) -> tuple[Tensor, KeyValueCache]:
        q, k, v = self.heads.split(x, ctx.start)
        cache.append(k, v)
        n = cache.length
        y = nn.functional.scaled_dot_product_attention(q, cache.k[:, :, :n], cache.v[:, :, :n])
        return self.heads.merge(y), cache


class SharedCache(Honest):
    """One cache for all sequences."""

    def init_cache(self, batch: int, device: torch.device | str, dtype: torch.dtype) -> KeyValueCache:
        self.shared: KeyValueCache = super().init_cache(batch, device, dtype)
        return self.shared

    def prefill(self, x: Tensor, ctx: Context, cache: KeyValueCache) -> tuple[Tensor, KeyValueCache]:
        self.shared.length = min(self.shared.length, ctx.start)
        return super().prefill(x, ctx, self.shared)


class PaddingForgottenInCache(Honest):
    """Decoding attends to the padding of the prompt."""

    def prefill(self, x: Tensor, ctx: Context, cache: KeyValueCache) -> tuple[Tensor, KeyValueCache]:
        return super().prefill(x, Context(ctx.step, ctx.start), cache)


class NoDecode(Honest):
    """Offers a cache, and no way to use it."""

    decode = None  # type: ignore[assignment]
