"""Angles in float32 or wider: in bfloat16 they would be off by whole degrees."""

from __future__ import annotations

import contextlib

import torch
from torch import Tensor


def wide(tensor: Tensor) -> Tensor:
    """The tensor in float32 or wider."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def full_precision(tensor: Tensor) -> contextlib.AbstractContextManager[object]:
    """A context in which autocast, where it is on for the device of `tensor`, is off."""
    device = tensor.device.type
    # Entered only where needed: an exported program would carry the context along.
    return torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else contextlib.nullcontext()


def random_phases(like: Tensor, generator: torch.Generator) -> Tensor:
    """Angles drawn uniformly from [-pi, pi), shape, dtype and device of `like`; the same on every device."""
    uniform = torch.rand(like.shape, generator=generator, dtype=torch.float64, device=generator.device)
    return ((2 * uniform - 1) * torch.pi).to(like)
