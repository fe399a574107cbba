"""Made-up batches and signals, for what is checked apart from a run."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from lot.contracts import IGNORED, Batch
from lot.random import torch_generator
from lot.signals import Signal
from lot.testing.case import Case, normal
from lot.testing.failure import NotApplicable

SPREADS = (3.0, 1.0, 0.1)
"""How far sampled phases lie apart, from random to synchronized: a penalty may sleep on one side of its target."""
FREE_SIZES = {"O": 3, "W": 4, "N": 5}
OTHER_SIZE = 3
LAYERS = (0, 2)
"""Layers that give attention signals: not all, as when mechanisms are mixed."""


def sample_batch(V: int, B: int, T: int, *, padding: bool = False) -> Batch:
    """Random tokens whose targets are the next ones; the first quarter is not scored, nor is padding, on the right."""
    generator = torch_generator(0, "kit", "batch", V, B, T)
    tokens = torch.randint(V, (B, T + 1), generator=generator)
    inputs, targets = tokens[:, :-1].contiguous(), tokens[:, 1:].clone()
    targets[:, : T // 4] = IGNORED
    if not padding:
        return Batch(inputs, targets)
    length = T - 2 * torch.arange(B) % (T // 2)
    mask = torch.arange(T)[None, :] >= length[:, None]
    return Batch(inputs, targets.masked_fill(mask, IGNORED), mask)


def sample_signals(
    case: Case, needs: frozenset[str], sizes: dict[str, int], *, variant: int, spread: float
) -> dict[str, Any]:
    """Signals of the right shapes, as the model returns them: leaves that require gradients.

    variant: which of a signal's admissible shapes. Raises NotApplicable for a signal whose shape nobody knows.
    """
    found: dict[str, Any] = {}
    for name in sorted(needs):
        signal = case.signal(name)
        if signal is None:
            raise NotApplicable(
                f"needs the signal {name!r}, whose shape lot.signals does not know; hand it over as signals="
            )
        letters = signal.shapes[min(variant, len(signal.shapes) - 1)]
        shape = tuple(sizes.get(letter, FREE_SIZES.get(letter, OTHER_SIZE)) for letter in letters)
        if signal.source == "attention":
            found[name] = {layer: _sample(signal, shape, spread, layer) for layer in LAYERS}
        else:
            found[name] = _sample(signal, shape, spread, 0)
    return found


def variants(case: Case, needs: frozenset[str]) -> int:
    """How many variants of shapes the signals `needs` can have together."""
    known = [signal for name in needs if (signal := case.signal(name)) is not None]
    if any(signal.one_oscillator for signal in known):
        return 1
    return max((len(signal.shapes) for signal in known), default=1)


def _sample(signal: Signal, shape: tuple[int, ...], spread: float, layer: int) -> Tensor:
    raw = normal(shape, signal.name, layer)
    if signal.name == "phase":
        value = 0.4 + spread * raw
    elif signal.name == "attention":
        T = shape[-1]
        value = raw.masked_fill(torch.ones(T, T, dtype=torch.bool).triu(1), -math.inf).softmax(-1)
    elif signal.name == "natural_frequency":
        value = 1.0 + spread * raw
    elif signal.name == "neighbor_weights":
        value = raw.exp() * (1.0 - torch.eye(shape[-1]))
    elif signal.name == "harmonic_amplitude":
        value = raw.exp()
    elif signal.name == "hidden":
        value = raw.cumsum(0)
    else:
        value = raw
    return value.detach().requires_grad_()


def leaves(signals: dict[str, Any]) -> list[tuple[str, Tensor]]:
    """Every tensor of a set of signals, with its name (and layer)."""
    found = []
    for name, value in signals.items():
        layers = [(f"{name}[{layer}]", v) for layer, v in value.items()] if isinstance(value, dict) else [(name, value)]
        found += layers
    return found


def mapped(signals: dict[str, Any], change: Any) -> dict[str, Any]:
    """The same set of signals, each tensor being change(name, tensor)."""
    return {
        name: {layer: change(name, v) for layer, v in value.items()} if isinstance(value, dict) else change(name, value)
        for name, value in signals.items()
    }
