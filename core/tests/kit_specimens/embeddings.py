"""Embeddings: an honest one, one that changes with the step, and some with a defect each."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lot.contracts import Context, Dims, Embedding, GeneratorFor
from lot.options.declare import NoOptions


class Honest(Embedding):
    """A table, and a sinusoidal part that grows with the steps of training."""

    def __init__(self, config: NoOptions, dims: Dims) -> None:
        super().__init__()
        self.dims = dims
        self.table = nn.Embedding(dims.vocab_size, dims.width)
        self.amplitude = nn.Parameter(torch.ones(dims.width))

    def reset_parameters(self, generator_for: GeneratorFor) -> None:
        super().reset_parameters(generator_for)
        nn.init.ones_(self.amplitude)

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """(V, D)."""
        return self.table.weight

    def waves(self, ids: Tensor, ctx: Context) -> Tensor:
        """(T, D)."""
        t = ctx.start + torch.arange(ids.shape[1], device=ids.device)
        return (t[:, None] * torch.arange(1, self.dims.width + 1, device=ids.device) / 7).to(self.amplitude.dtype).sin()

    def share(self, ctx: Context) -> Tensor:
        """() how much of the waves there is, 0 at step 0 and 1 from step 50 on."""
        return (ctx.step.to(self.amplitude.dtype) / 50).clamp(max=1)

    def forward(self, ids: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        return self.table(ids) + self.share(ctx) * self.amplitude * self.waves(ids, ctx), {}


class NeighborMean(Honest):
    """Adds the mean of the sequence."""

    def forward(self, ids: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        x, signals = super().forward(ids, ctx)
        return x + 1e-3 * x.mean(1, keepdim=True), signals


class StartIgnored(Honest):
    """Counts positions from 0 when decoding too."""

    def waves(self, ids: Tensor, ctx: Context) -> Tensor:
        return super().waves(ids, Context(ctx.step))


class CountsOn(Honest):
    """Says that it heeds documents, and counts positions through the row."""

    segments = True


class StepCounter(Honest):
    """Anneals by its own calls."""

    calls = 0

    def share(self, ctx: Context) -> Tensor:
        self.calls += 1
        return self.amplitude.new_tensor(min(1.0, self.calls / 50))


class FoldedTokens(Honest):
    """Two tokens share a vector."""

    def forward(self, ids: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        return super().forward(ids.clamp(max=self.dims.vocab_size - 2), ctx)


class NeedsCounts(Honest):
    """Cannot do without token counts."""

    def __init__(self, config: NoOptions, dims: Dims) -> None:
        super().__init__(config, dims)
        assert dims.token_counts is not None
        self.register_buffer("rank", dims.token_counts.argsort())


class DeadAmplitude(Honest):
    """Fixed amplitudes beside a parameter that is said to hold them."""

    def forward(self, ids: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        return self.table(ids) + self.share(ctx) * self.waves(ids, ctx), {}


class TransposedWeight(Honest):
    """A weight (D, V)."""

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        return self.table.weight.T


class DetachedWeight(Honest):
    """A weight that a tied head could not train."""

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        return self.table.weight.detach()


class SeparateWeight(Honest):
    """A weight of its own: tying ties nothing."""

    inert = frozenset({"other"})

    def __init__(self, config: NoOptions, dims: Dims) -> None:
        super().__init__(config, dims)
        self.other = nn.Parameter(torch.zeros(dims.vocab_size, dims.width))

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        return self.other


class Untied(Honest):
    """Offers no weight."""

    weight = None
