"""The contract of an attention.

Shapes: B batch, T positions, D width.
"""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch import Tensor, nn

from lot.contracts.context import Context
from lot.contracts.initialization import GeneratorFor, reset_standard
from lot.errors import BadInput

Cache = Any
"""What an attention keeps of the tokens so far while it decodes: its own affair (`Attention.init_cache` makes one)."""


class Attention(nn.Module):
    """A mechanism that mixes positions: `forward(x (B, T, D), ctx) -> (y (B, T, D), signals)`.

    Class or instance attributes:
    causal: what was built; output t depends on inputs up to t only.
    want: signals asked for, set once when the run is composed; what is not in it is not computed.
    inert: names of parameters that cannot act in this configuration, each with its reason in a comment.
    rotary: whether this module turns queries and keys when `dims.positions` is "rotary".
    tolerance: 0, or the error (relative to the output) up to which causality holds where a bit-exact form is impossible.
    depends_on_length: whether the output for a sequence depends on how long it is, so that a prefix alone gives something
    else than within the whole. Such a module offers no cache. It still sees no later input: that is probed at equal length.
    straight_through: "", or in a few words what its gradients approximate, such as "a spike by a sigmoid of slope 4"; then
    they need not agree with differences of the output.
    segments: whether it heeds `ctx.segments` by itself. One that does not is given each document as a sequence of its own
    (`lot.nn.apart`), so that it need not know of them; say True only where an own form is cheaper.

    Optional, for decoding with a cache: `init_cache(batch, device, dtype)`, `prefill(x, ctx, cache)` and
    `decode(x (B, 1, D), ctx, cache)`, the latter two returning (y, cache); `lot.nn.CachedAttention` has what is common.
    Optional: `ablate(generator)`, a context manager in which the mechanism's state is randomized.
    Optional: `neutral()`, a context manager in which the mechanism is left out.
    """

    causal: bool = True
    want: frozenset[str] = frozenset()
    inert: frozenset[str] = frozenset()
    rotary: bool = False
    tolerance: float = 0.0
    depends_on_length: bool = False
    straight_through: str = ""
    segments: bool = False

    def reset_parameters(self, generator_for: GeneratorFor) -> None:
        """Set the initial value of every parameter; `generator_for(name)` is keyed by that parameter's name.

        The default draws linear and embedding weights from N(0, 0.02), zeroes their biases, resets norms, and
        leaves parameters that the module made by itself as its constructor set them.
        """
        reset_standard(self, generator_for)

    def forward(self, x: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        """y (B, T, D) and the signals in `want` that this module emits."""
        raise NotImplementedError

    def can_decode(self) -> bool:
        """Whether this module offers decoding with a cache."""
        return hasattr(self, "init_cache")

    def neutral(self) -> contextlib.AbstractContextManager[None]:
        """A context in which this module computes vanilla attention, with its own `lot.nn.Projections`, to 1e-5.

        Mask, positions, dropout and decoding are vanilla's too. It may last for a whole training, and may be entered again
        while it lasts; a cache that was made inside serves inside only.
        Raises BadInput that says why where the mechanism, with these options, has no such form: the default.
        """
        raise BadInput("this attention has no neutral form: it replaces vanilla attention, and adds nothing to it")

    def check_spread(self, positions: int, processes: int) -> None:
        """Raise BadInput unless sequences may be spread over `processes`, `positions` in a row to each (see `Context.group`).

        A module that brings the parts together overrides this; the default is that it needs whole sequences.
        """
        raise BadInput(
            "this attention needs whole sequences", fix="set train.context_parallel=1, or choose one that can be spread"
        )


def ablation(module: nn.Module, generator: torch.Generator) -> contextlib.AbstractContextManager[None]:
    """A context in which the mechanism's state is randomized, or one that changes nothing where there is none."""
    ablate = getattr(module, "ablate", None)
    return ablate(generator) if ablate is not None else contextlib.nullcontext()
