"""Divergence, noticed on the device: nothing is copied to the host until a log row or a save asks."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

SETTLE = 20
"""Steps before a gradient norm can count as a spike: the running mean must mean something first."""


class DivergenceWatch:
    """Watches loss and gradient norm of every step.

    A step is bad when either is not finite. It is a spike when the norm exceeds `factor` times the running mean of the
    norms that were none (decay 0.9).
    """

    def __init__(self, device: torch.device, factor: float) -> None:
        self.factor = factor
        self._state = {
            "bad": torch.zeros((), dtype=torch.bool, device=device),
            "mean": torch.zeros((), device=device),
            "steps": torch.zeros((), dtype=torch.int64, device=device),
            "spikes": torch.zeros((), dtype=torch.int64, device=device),
            "longest": torch.zeros((), dtype=torch.int64, device=device),
        }

    def update(self, loss: Tensor, norm: Tensor) -> None:
        """Take in one step's loss () and gradient norm ()."""
        s = self._state
        finite = torch.isfinite(loss) & torch.isfinite(norm)
        spike = finite & (s["steps"] >= SETTLE) & (norm > self.factor * s["mean"])
        mean = torch.where(s["steps"] == 0, norm, 0.9 * s["mean"] + 0.1 * norm)
        s["mean"] = torch.where(finite & ~spike, mean, s["mean"])
        s["spikes"] = torch.where(spike, s["spikes"] + 1, 0)
        s["longest"] = torch.maximum(s["longest"], s["spikes"])
        s["bad"] = s["bad"] | ~finite
        s["steps"] = s["steps"] + 1

    def bad(self) -> bool:
        """Whether any step so far was not finite (waits for the device)."""
        return bool(self._state["bad"])

    def longest_spikes(self) -> int:
        """The longest row of spikes so far (waits for the device)."""
        return int(self._state["longest"])

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return dict(self._state)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        for name, value in state.items():
            self._state[name] = value.to(self._state[name].device)
