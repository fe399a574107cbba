"""The contract of an embedding.

Shapes: B batch, T positions, D width, V vocabulary.
"""

from __future__ import annotations

from torch import Tensor, nn

from lot.contracts.context import Context
from lot.contracts.initialization import GeneratorFor, reset_standard


class Embedding(nn.Module):
    """Tokens to vectors: `forward(ids (B, T), ctx) -> (x (B, T, D), signals)`. `weight` (V, D), if any, can be tied to the head.

    want, inert, straight_through, segments: as those of `Attention`. One that heeds `ctx.positions`, or needs none, heeds
    segments.
    """

    want: frozenset[str] = frozenset()
    inert: frozenset[str] = frozenset()
    straight_through: str = ""
    segments: bool = False
    weight: Tensor | None = None

    def reset_parameters(self, generator_for: GeneratorFor) -> None:
        """As `Attention.reset_parameters`."""
        reset_standard(self, generator_for)

    def forward(self, ids: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        """x (B, T, D) and the signals in `want` that this module emits."""
        raise NotImplementedError
