"""What every module is told about a pass, beside its input.

Shapes: B batch, T positions.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    import torch.distributed as dist


@dataclass(frozen=True)
class Context:
    """What every module is told about the pass.

    step: () int64 optimizer step, a tensor so that a compiled model is not compiled again for each step.
    start: position of the first token of `x` in its sequence (nonzero when decoding with a cache).
    padding: (B, T) bool, True where a token is padding, or None.
    group: processes over which the sequences are spread, in the order of their ranks: `x` and `padding` are the part from
    `start` on; or None, where `x` is all there is.
    positions: (B, T) int64, the position of each token where sequences do not all begin at `start` (behind padding, say), or
    None: `start` and following.
    segments: (B, T) int64, where several documents share a row: a new number begins a new document, which must be computed as
    a sequence of its own; or None, where each row is one.
    documents: a `lot.nn.Documents`, which tells where they lie, found once for a batch (`lot.nn.context`); or None. With it, each
    document has a number of its own, padding has -1, and `positions` begin at 0 in each.
    """

    step: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.int64))
    start: int = 0
    padding: Tensor | None = None
    group: dist.ProcessGroup | None = None
    positions: Tensor | None = None
    segments: Tensor | None = None
    documents: Any = None
