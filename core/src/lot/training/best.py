"""Which validation was the best."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any


@dataclass
class Best:
    """The best validation so far. Equal primary metrics are told apart by the loss."""

    step: int | None = None
    value: float | None = None
    loss: float | None = None
    stale: int = 0

    def update(self, step: int, value: float, higher: bool, loss: float) -> bool:
        """Take in an evaluation; whether it is the best. One that is not finite never is, unless it is the first."""
        sign = 1.0 if higher else -1.0
        first = self.value is None or self.loss is None or math.isnan(self.value)
        if first or (sign * value, -loss) > (sign * self.value, -self.loss):  # type: ignore[operator]
            self.step, self.value, self.loss, self.stale = step, value, loss, 0
            return True
        self.stale += 1
        return False

    def stale_for(self, evaluations: int | None) -> bool:
        """Whether that many evaluations in a row brought nothing better."""
        return evaluations is not None and self.stale >= evaluations

    def as_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"step": self.step, "value": self.value, "loss": self.loss, "stale": self.stale}
