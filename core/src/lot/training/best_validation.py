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
        if math.isfinite(value) and math.isfinite(loss):
            better = not self.finite or (sign * value, -loss) > (sign * self.value, -self.loss)  # type: ignore[operator]
        else:
            better = self.step is None
        if better:
            self.step, self.value, self.loss, self.stale = step, value, loss, 0
        else:
            self.stale += 1
        return better

    @property
    def finite(self) -> bool:
        """Whether there was a validation whose primary metric and loss were both finite."""
        return (
            self.value is not None and self.loss is not None and math.isfinite(self.value) and math.isfinite(self.loss)
        )

    def stale_for(self, validations: int | None) -> bool:
        """Whether that many validations in a row brought nothing better; never for None."""
        return validations is not None and self.stale >= validations

    def as_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"step": self.step, "value": self.value, "loss": self.loss, "stale": self.stale}
