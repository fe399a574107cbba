"""What a model makes of a batch, for losses and diagnostics.

Shapes: B batch, T positions, V vocabulary.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor


class Output(NamedTuple):
    """What the model returns: logits (B, T, V); attention signals as `signals[name][layer]`, others as `signals[name]`."""

    logits: Tensor
    signals: dict[str, Any]
