"""What a loss is called with, in every form that a run can bring: shapes of signals, spreads of phases, padding."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lot.contracts import Batch, Context, Loss, Output
from lot.testing.case import Case
from lot.testing.draws import normal
from lot.testing.failure import require, require_finite, require_named_tensors
from lot.testing.specimens.read_signals import ReadSignals
from lot.testing.specimens.samples import SPREADS, leaves, sample_batch, sample_signals, variants

B, T, V = 3, 12, 23


@dataclass
class LossCall:
    """The arguments of one call of a loss."""

    output: Output
    batch: Batch
    ctx: Context

    @property
    def tensors(self) -> list[tuple[str, Tensor]]:
        """Everything that a loss may depend on, by name."""
        return [("logits", self.output.logits), *leaves(self.output.signals)]

    def replaced(
        self, *, logits: Tensor | None = None, signals: dict[str, Any] | None = None, batch: Batch | None = None
    ) -> LossCall:
        """The same call with other logits (B, T, V), signals or batch."""
        output = Output(
            self.output.logits if logits is None else logits,
            ReadSignals(self.output.signals if signals is None else signals),
        )
        return LossCall(output, self.batch if batch is None else batch, self.ctx)


def loss_calls(case: Case, loss: Loss, *, padding: bool = False, optional: bool = True) -> Iterator[LossCall]:
    """Calls with every variant of the signals' shapes and several spreads of phases.

    optional: also calls with all signals that the component declares, for a term that uses a signal where there is one.
    """
    sizes = {**case.sizes, "B": B, "T": T, "V": V}
    batch = sample_batch(V, B, T, padding=padding)
    ctx = Context(torch.tensor(3), padding=batch.padding)
    for names in dict.fromkeys((loss.needs, loss.needs | case.component.needs if optional else loss.needs)):
        for variant in range(variants(case, names)):
            for spread in SPREADS:
                logits = normal((B, T, V), "logits").requires_grad_()
                signals = sample_signals(case, names, sizes, variant=variant, spread=spread)
                yield LossCall(Output(logits, ReadSignals(signals)), batch, ctx)


def loss_terms(loss: Loss, call: LossCall) -> dict[str, Tensor]:
    """The terms of one call by name, as for a batch in one part. Raises KitFailure unless they are finite scalars."""
    require_named_tensors(loss(call.output, call.batch, call.ctx), "terms that a loss returns")
    terms = loss.terms(call.output, call.batch, call.ctx)
    for name, value in terms.items():
        require(
            value.shape == () and value.is_floating_point(),
            f"term {name}",
            expected="a scalar tensor of a floating-point type",
            got=f"shape {tuple(value.shape)}, {value.dtype}",
        )
        require_finite(value, f"term {name}")
    return terms


def term_gradients(term: Tensor, call: LossCall) -> dict[str, Tensor]:
    """The gradient of one term with respect to each tensor that it depends on, by name."""
    names, tensors = zip(*call.tensors, strict=True)
    found = torch.autograd.grad(term, tensors, allow_unused=True, retain_graph=True)
    return {name: g for name, g in zip(names, found, strict=True) if g is not None}
