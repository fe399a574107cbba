"""The contract of an MLP.

Shapes: B batch, T positions, D width.
"""

from __future__ import annotations

from torch import Tensor, nn

from lot.contracts.context import Context
from lot.contracts.initialization import GeneratorFor, reset_standard


class MLP(nn.Module):
    """The other half of a block, which mixes channels: `forward(x (B, T, D), ctx) -> (y (B, T, D), signals)`.

    Each token is mixed by itself: y at a position depends on x there, on `ctx` and on nothing else.
    want, inert, straight_through, reset_parameters: as for an `Attention`.
    """

    want: frozenset[str] = frozenset()
    inert: frozenset[str] = frozenset()
    straight_through: str = ""

    def reset_parameters(self, generator_for: GeneratorFor) -> None:
        """As `Attention.reset_parameters`."""
        reset_standard(self, generator_for)

    def forward(self, x: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        """y (B, T, D) and the signals in `want` that this module emits."""
        raise NotImplementedError
