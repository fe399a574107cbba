"""Hybrid attention: phase attention blended with any other attention."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from lot import Attention, BadInput, Context, Dims, GeneratorFor, ablation, registry
from lot.nn import CachedAttention, Neutralizable
from lot_lattice.attention.phase import PhaseAttention
from lot_lattice.config import HybridConfig


class HybridAttention(Neutralizable, CachedAttention[tuple[Any, Any]]):
    """(1 - a) inner(x) + a phase(x). The signal `attention` is the inner one's, all others are the phase side's.

    Neutral is a = 0, with a neutral inner one.
    """

    def __init__(self, config: HybridConfig, dims: Dims) -> None:
        super().__init__()
        self.blend = config.blend
        self.inner: Attention = _inner(config.inner, dims)
        self.phase = PhaseAttention(registry().get("attention", "lot-lattice:phase").parse(config.phase, "phase"), dims)
        self.causal = self.inner.causal and self.phase.causal
        self.rotary = self.inner.rotary
        self.tolerance = self.inner.tolerance
        self.inert = self._inert()

    def _inert(self) -> frozenset[str]:
        inert = {f"inner.{name}" for name in self.inner.inert} | {f"phase.{name}" for name in self.phase.inert}
        # A side with no share in the blend cannot act.
        silent = {0.0: self.phase, 1.0: self.inner}.get(self.blend)
        prefix = "phase" if silent is self.phase else "inner"
        return frozenset(inert | {f"{prefix}.{name}" for name, _ in (silent.named_parameters() if silent else ())})

    @property
    def want(self) -> frozenset[str]:
        """Signals asked for; each side is told of those that it gives here."""
        return self.phase.want

    @want.setter
    def want(self, want: frozenset[str]) -> None:
        # The signal `phase` is that of the phase attention, even where the inner one has phases too.
        self.inner.want = want & {"attention"}
        self.phase.want = want

    def reset_parameters(self, generator_for: GeneratorFor) -> None:
        """As each side does for itself."""
        self.inner.reset_parameters(lambda name: generator_for(f"inner.{name}"))
        self.phase.reset_parameters(lambda name: generator_for(f"phase.{name}"))

    def forward(self, x: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        """y (B, T, D) and the signals of both sides."""
        y, signals = self.inner(x, ctx)
        if self.is_neutral and not self.phase.want:
            return y, signals
        z, of_phase = self.phase(x, ctx)
        return y if self.is_neutral else (1 - self.blend) * y + self.blend * z, {**signals, **of_phase}

    def can_decode(self) -> bool:
        """Whether both sides are causal and decode with a cache."""
        return self.causal and self.inner.can_decode() and self.phase.can_decode()

    def empty_cache(self, batch: int, device: torch.device | str, dtype: torch.dtype) -> tuple[Any, Any]:
        """The caches of both sides."""
        inner: Any = self.inner
        return inner.init_cache(batch, device, dtype), self.phase.init_cache(batch, device, dtype)

    def extend(self, x: Tensor, ctx: Context, cache: tuple[Any, Any]) -> tuple[Tensor, tuple[Any, Any]]:
        """y (B, n, D) of the next n tokens x (B, n, D), which join both caches."""
        return self._extend("prefill", x, ctx, cache)

    def decode(self, x: Tensor, ctx: Context, cache: tuple[Any, Any]) -> tuple[Tensor, tuple[Any, Any]]:
        """y (B, 1, D) of the next token x (B, 1, D), which joins both caches."""
        # Not a prompt of one token, as elsewhere: the inner attention may have a faster way to decode.
        return self._extend("decode", x, ctx, cache)

    def _extend(self, method: str, x: Tensor, ctx: Context, cache: tuple[Any, Any]) -> tuple[Tensor, tuple[Any, Any]]:
        y, inner = getattr(self.inner, method)(x, ctx, cache[0])
        if self.is_neutral:
            return y, (inner, cache[1])
        z, phase = getattr(self.phase, method)(x, ctx, cache[1])
        return (1 - self.blend) * y + self.blend * z, (inner, phase)

    @contextlib.contextmanager
    def neutral(self) -> Iterator[None]:
        """A context in which the phase attention is left out, and the inner one is neutral.

        Raises BadInput where the inner one cannot be.
        """
        with self.inner.neutral(), super().neutral():
            yield

    @contextlib.contextmanager
    def ablate(self, generator: torch.Generator) -> Iterator[None]:
        """A context in which the state of both sides is randomized."""
        with ablation(self.inner, generator), self.phase.ablate(generator):
            yield


def _inner(table: dict[str, Any], dims: Dims) -> Attention:
    options = dict(table)
    name = options.pop("name", "vanilla")
    if not isinstance(name, str):
        raise BadInput(where="inner.name", expected="the name of an attention", got=repr(name))
    component = registry().get("attention", name)
    try:
        return component.create(component.parse(options, "inner"), dims)  # type: ignore[no-any-return]
    except BadInput as error:
        raise error if error.where.startswith(("inner", "model.")) else error.under("inner") from None
