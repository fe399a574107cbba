"""Which validation was the best: it decides which checkpoint is tested, and when a run stops early."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any


@dataclass
class BestValidation:
    """The best validation so far. Equal primary metrics are told apart by the loss.

    step: the step at which it was measured. value, loss: its primary metric and its loss. stale: validations since then.
    """

    step: int | None = None
    value: float | None = None
    loss: float | None = None
    stale: int = 0

    def update(self, step: int, value: float, higher: bool, loss: float) -> bool:
        """Take in a validation; whether it is the best so far. One that is not finite is so only if it is the first.

        higher: whether a larger value is better.
        """
        sign = 1.0 if higher else -1.0
        first = self.value is None or self.loss is None or math.isnan(self.value)
        if first or (sign * value, -loss) > (sign * self.value, -self.loss):  # type: ignore[operator]
            self.step, self.value, self.loss, self.stale = step, value, loss, 0
            return True
        self.stale += 1
        return False

    def stale_for(self, validations: int | None) -> bool:
        """Whether that many validations in a row brought nothing better; never for None."""
        return validations is not None and self.stale >= validations

    def as_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"step": self.step, "value": self.value, "loss": self.loss, "stale": self.stale}
