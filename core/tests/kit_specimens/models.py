"""Decoders, each with one mistake in how it is entered between two layers."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from lot.contracts import Context, Model, Output
from lot.model.decoder import Decoder


class LayerTwice(Decoder):
    """Passes the layer at which it is entered twice."""

    def upper(self, x: Tensor, ctx: Context, layers: int) -> Output:
        return super().upper(x, ctx, max(0, layers - 1))


class SilentBelow(Decoder):
    """Drops the signals of the lower half."""

    def lower(self, ids: Tensor, ctx: Context, layers: int) -> tuple[Tensor, dict[str, Any]]:
        x, signals = super().lower(ids, ctx, layers)
        return x, signals if layers == len(self.blocks) else {}


class OnlyWhole(Decoder):
    """Cannot be entered between two layers."""

    lower, upper = Model.lower, Model.upper

    def forward(self, ids: Tensor, ctx: Context | None = None) -> Output:
        ctx = Context() if ctx is None else ctx
        x, signals = Decoder.lower(self, ids, ctx, len(self.blocks))
        return Output(self._logits(x), signals)
