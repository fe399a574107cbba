"""Made-up batches and signals, so that a loss or a diagnostic is checked without any mechanism that gives them."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from lot.contracts import IGNORED, Batch, Dims
from lot.random import torch_generator
from lot.signals import Signal
from lot.testing.case import Case
from lot.testing.draws import normal
from lot.testing.failure import NotApplicable

SPREADS = (3.0, 1.0, 0.1)
"""How far sampled phases lie apart, from random to synchronized: a penalty may be 0 on one side of its target."""
FREE_SIZES = {"O": 3, "W": 4, "N": 5}
"""Sizes by letter of a signal's shape, where neither the case nor the batch gives them."""
OTHER_SIZE = 3
LAYERS = (0, 2)
"""Layers that give attention signals: some of them only, as in a model that mixes mechanisms."""


def token_ids(dims: Dims, batch: int, length: int, *key: str | int) -> Tensor:
    """Tokens (batch, length) int64, equal for equal keys."""
    generator = torch_generator(0, "kit", "tokens", batch, length, *key)
    return torch.randint(dims.vocab_size, (batch, length), generator=generator)


def sample_batch(V: int, B: int, T: int, *, padding: bool = False) -> Batch:
    """Random tokens (B, T) whose targets are the next tokens.

    The first quarter of each row is not scored. padding: whether rows are padded on the right, which is not scored either.
    """
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
    """Signals of the right shapes, as the model returns them: tensors that require gradients.

    sizes: by letter of a shape. variant: which of a signal's admissible shapes. spread: of phases, in radians.
    Raises NotApplicable for a signal whose shape is unknown.
    """
    found: dict[str, Any] = {}
    for name in sorted(needs):
        signal = case.signal(name)
        if signal is None:
            raise NotApplicable(
                f"it needs the signal {name!r}, whose shape lot.signals does not have; pass it as signals="
            )
        letters = signal.shapes[min(variant, len(signal.shapes) - 1)]
        shape = tuple(sizes.get(letter, FREE_SIZES.get(letter, OTHER_SIZE)) for letter in letters)
        if signal.source == "attention":
            found[name] = {layer: _sample(signal, shape, spread, layer) for layer in LAYERS}
        else:
            found[name] = _sample(signal, shape, spread, 0)
    return found


def variants(case: Case, needs: frozenset[str]) -> int:
    """How many variants of shapes the signals `needs` have together."""
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
    """Every tensor of a set of signals with a name for messages, such as `phase of layer 0`."""
    found = []
    for name, value in signals.items():
        by_layer = isinstance(value, dict)
        found += [(f"{name} of layer {layer}", v) for layer, v in value.items()] if by_layer else [(name, value)]
    return found


def mapped(signals: dict[str, Any], change: Any) -> dict[str, Any]:
    """The same set of signals, where each tensor is `change(name, tensor)`."""
    return {
        name: {layer: change(name, v) for layer, v in value.items()} if isinstance(value, dict) else change(name, value)
        for name, value in signals.items()
    }
