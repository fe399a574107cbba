"""Token: the standard embedding, a table of vectors."""

from __future__ import annotations

from torch import Tensor, nn

from lot.contracts import Context, Dims, Embedding
from lot.options.declare import NoOptions


class Token(Embedding):
    """One learned vector per token."""

    segments = True

    def __init__(self, config: NoOptions, dims: Dims) -> None:
        super().__init__()
        self.table = nn.Embedding(dims.vocab_size, dims.width)

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """(V, D), which a tied head shares."""
        return self.table.weight

    def forward(self, ids: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        """x (B, T, D); no signals."""
        return self.table(ids), {}
