"""Losses: honest ones on logits and on phases, and with a defect each."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lot.circular import order_parameter
from lot.contracts import Batch, Context, Loss, Output
from lot.options.declare import NoOptions


def token_sum(values: Tensor, padding: Tensor | None) -> Tensor:
    """The sum () of values (B, T) over tokens that are no padding."""
    return (values if padding is None else values.masked_fill(padding, 0.0)).sum()


class Honest(Loss):
    """Cross-entropy, and 1 - R where phases are given."""

    needs = frozenset({"phase"})

    def __init__(self, config: NoOptions) -> None:
        pass

    def entropy(self, output: Output, batch: Batch) -> Tensor:
        return F.cross_entropy(output.logits.flatten(0, 1).float(), batch.targets.flatten(), reduction="sum")

    def sync(self, output: Output, batch: Batch) -> Tensor:
        phases = output.signals["phase"].values()
        return torch.stack([token_sum(1 - self.order(theta), batch.padding) for theta in phases]).mean()

    def order(self, theta: Tensor) -> Tensor:
        return order_parameter(theta if theta.dim() == 3 else theta.transpose(2, 3).flatten(1, 2), dim=1)

    def __call__(self, output: Output, batch: Batch, ctx: Context) -> dict[str, Tensor]:
        return {"entropy": self.entropy(output, batch), "sync": self.sync(output, batch)}

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        return {"sync": batch.tokens()}


class Optional(Honest):
    """Takes phases where they are, and is 0 where they are not."""

    needs = frozenset()

    def sync(self, output: Output, batch: Batch) -> Tensor:
        return super().sync(output, batch) if "phase" in output.signals else output.logits.new_zeros(())


class PerTarget(Honest):
    """Cross-entropy alone: a mean over targets, and says so."""

    needs = frozenset()
    per_target = True

    def __call__(self, output: Output, batch: Batch, ctx: Context) -> dict[str, Tensor]:
        return {"entropy": self.entropy(output, batch)}


class PerSequence(PerTarget):
    """Means over each sequence first."""

    def entropy(self, output: Output, batch: Batch) -> Tensor:
        each = F.cross_entropy(output.logits.float().transpose(1, 2), batch.targets, reduction="none")
        return (each.sum(1) / (batch.targets != -100).sum(1).clamp(min=1)).sum()


class PaddingCounts(Honest):
    """Means over all tokens."""

    def sync(self, output: Output, batch: Batch) -> Tensor:
        return super().sync(output, Batch(*batch[:2]))


class MeanNotSum(Honest):
    """Divides by itself what the engine divides again."""

    def sync(self, output: Output, batch: Batch) -> Tensor:
        return super().sync(output, batch) / batch.tokens()


class SquaredMean(Honest):
    """The square of a mean, made where means are made."""

    def finish(self, means: dict[str, Tensor]) -> dict[str, Tensor]:
        return {**means, "sync": means["sync"].square()}


class SquaredSum(Honest):
    """The square of a mean over its own part."""

    def sync(self, output: Output, batch: Batch) -> Tensor:
        mean: Tensor = super().sync(output, batch) / batch.tokens()
        return mean.square() * batch.tokens()


class IgnoredCounts(Honest):
    """Takes targets of -100 for token 0."""

    def entropy(self, output: Output, batch: Batch) -> Tensor:
        return super().entropy(output, Batch(batch.inputs, batch.targets.clamp(min=0)))


class NothingScored(Honest):
    """NaN where nothing is scored."""

    def entropy(self, output: Output, batch: Batch) -> Tensor:
        return F.cross_entropy(output.logits.flatten(0, 1).float(), batch.targets.flatten()) * batch.scored()


class NarrowSoftmax(Honest):
    """A softmax in the type of the logits."""

    def entropy(self, output: Output, batch: Batch) -> Tensor:
        return F.cross_entropy(output.logits.flatten(0, 1), batch.targets.flatten(), reduction="sum")


class Constant(Honest):
    """A term that nothing moves."""

    def sync(self, output: Output, batch: Batch) -> Tensor:
        return super().sync(output, batch).detach()


class RootAtZero(Honest):
    """NaN in the gradient where a distance is 0."""

    def sync(self, output: Output, batch: Batch) -> Tensor:
        theta = next(iter(output.signals["phase"].values()))
        return (theta - theta.detach()).square().sum().sqrt()


class ForgottenNeed(Honest):
    """Reads phases without saying so."""

    needs = frozenset()


class IdleNeed(Honest):
    """Asks for a signal that it never reads."""

    needs = frozenset({"phase", "natural_frequency"})


class OneShape(Honest):
    """Knows one oscillator a head only."""

    def order(self, theta: Tensor) -> Tensor:
        B, H, T = theta.shape
        return order_parameter(theta.view(B, H, T), dim=1)


class Vector(Honest):
    """A term for each token."""

    def entropy(self, output: Output, batch: Batch) -> Tensor:
        return output.logits.float().logsumexp(-1)


class Unnamed(Honest):
    """Returns a tensor instead of terms."""

    def __call__(self, output: Output, batch: Batch, ctx: Context) -> Tensor:  # type: ignore[override]
        return self.entropy(output, batch)


class InPlace(Honest):
    """Scales the logits in place."""

    def entropy(self, output: Output, batch: Batch) -> Tensor:
        with torch.no_grad():
            output.logits.mul_(0.5)
        return super().entropy(output, batch)


class ComesAndGoes(Honest):
    """A term that is there only where there is padding."""

    def __call__(self, output: Output, batch: Batch, ctx: Context) -> dict[str, Tensor]:
        terms = super().__call__(output, batch, ctx)
        return terms if batch.padding is not None else {"entropy": terms["entropy"]}


class RunningMean(Honest):
    """Subtracts a running mean of its own calls."""

    mean = 0.0

    def entropy(self, output: Output, batch: Batch) -> Tensor:
        value = super().entropy(output, batch)
        self.mean = 0.9 * self.mean + 0.1 * float(value.detach())
        return value - self.mean


class FalseReplacement(Honest):
    """Says that it holds cross-entropy."""

    def entropy(self, output: Output, batch: Batch) -> Tensor:
        return output.logits.float()[batch.targets != -100].square().mean(-1).sum()


class NoLoss:
    """A function in disguise."""

    def __init__(self, config: NoOptions) -> None:
        pass


class Flux(Loss):
    """Reads a signal that only its own plugin knows."""

    needs = frozenset({"flux"})

    def __init__(self, config: NoOptions) -> None:
        pass

    def __call__(self, output: Output, batch: Batch, ctx: Context) -> dict[str, Tensor]:
        layers = output.signals["flux"].values()
        return {"flux": torch.stack([token_sum(flux.square().mean(-1), batch.padding) for flux in layers]).mean()}

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        return {"flux": batch.tokens()}


class AllTokens(PerTarget):
    """Divides by all tokens, scored or not."""

    per_target = False

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        return {"entropy": torch.full((), batch.inputs.numel())}


class PaddedTokens(Honest):
    """Divides phases by all tokens, padding too."""

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        return {"sync": torch.full((), batch.inputs.numel())}


class FixedCount(PerTarget):
    """Divides by a number that was right once."""

    per_target = False

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        return {"entropy": torch.full((), 27)}


class FirstCount(PerTarget):
    """Divides by the number of the first batch."""

    first: Tensor | None = None

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        self.first = batch.scored() if self.first is None else self.first
        return {"entropy": self.first}
