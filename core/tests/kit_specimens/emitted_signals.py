"""Attention whose signals are wrong."""

from __future__ import annotations

import torch
from torch import Tensor

from kit_specimens.mechanisms import Oscillators


class UnaskedSignals(Oscillators):
    """Gives phases to everybody."""

    def signals(self, theta: Tensor, score: Tensor) -> dict[str, Tensor]:
        return {"phase": theta}


class AllSignals(Oscillators):
    """Gives everything as soon as anything is wanted."""

    def signals(self, theta: Tensor, score: Tensor) -> dict[str, Tensor]:
        return {"phase": theta, "attention": score.tril().softmax(-1).tril()} if self.want else {}


class UndeclaredSignal(Oscillators):
    """Gives the force, which its component does not declare."""

    def signals(self, theta: Tensor, score: Tensor) -> dict[str, Tensor]:
        found = super().signals(theta, score)
        return {**found, "coupling_force": theta} if "coupling_force" in self.want else found


class MisshapenSignal(Oscillators):
    """Phases with heads last."""

    def signals(self, theta: Tensor, score: Tensor) -> dict[str, Tensor]:
        return {"phase": theta.transpose(1, 2)} if "phase" in self.want else {}


class DetachedSignal(Oscillators):
    """Phases without their graph."""

    def signals(self, theta: Tensor, score: Tensor) -> dict[str, Tensor]:
        return {"phase": theta.detach()} if "phase" in self.want else {}


class ConstantSignal(Oscillators):
    """A signal that depends on nothing has no graph, and needs none."""

    def signals(self, theta: Tensor, score: Tensor) -> dict[str, Tensor]:
        return {"natural_frequency": torch.ones(self.dims.heads)} if "natural_frequency" in self.want else {}


class SilentSignal(Oscillators):
    """Declares phases and never gives them."""

    def signals(self, theta: Tensor, score: Tensor) -> dict[str, Tensor]:
        return {}


class UnmaskedSignal(Oscillators):
    """Weights as they would be without a mask."""

    def signals(self, theta: Tensor, score: Tensor) -> dict[str, Tensor]:
        return {"attention": score.softmax(-1)} if "attention" in self.want else {}


class SignalChangesOutput(Oscillators):
    """Another formula while the signal is wanted."""

    def phases(self, x: Tensor) -> Tensor:
        theta = super().phases(x)
        return theta.remainder(3.0) if "phase" in self.want else theta
