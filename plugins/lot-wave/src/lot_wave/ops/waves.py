"""The waves of tokens as tensors: amplitude, frequency and phase, and how phases evolve with the position."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor


class Waves(NamedTuple):
    """W waves of each token and head, each (B, H, T, W): amplitude >= 0, frequency (radians per token), phase."""

    amplitude: Tensor
    frequency: Tensor
    phase: Tensor

    def select(self, rows: slice) -> Waves:
        """The waves of the tokens `rows`."""
        return Waves(*(part[..., rows, :] for part in self))


def evolved_phase(waves: Waves, start: int = 0) -> Tensor:
    """The phase p + w t at position t, in (-pi, pi], (B, H, T, W); `start` is the position of the first token.

    The product is formed in float64, since at t = 8192 a float32 angle has an error of about 5e-4 radians.
    """
    return turn(waves.phase, waves.frequency, positions(waves.phase.shape[-2], start, waves.phase.device)[:, None])


def turn(phase: Tensor, frequency: Tensor, time: Tensor) -> Tensor:
    """phase + frequency * time in [-pi, pi], in the dtype of `phase`, formed in the widest float of its device."""
    wide = widest(phase.device)
    angle = phase.to(wide) + frequency.to(wide) * time.to(wide)
    return (torch.remainder(angle + math.pi, 2 * math.pi) - math.pi).to(phase.dtype)


def positions(length: int, start: int, device: torch.device) -> Tensor:
    """start, start + 1, ... (length,) in the widest float of `device`."""
    return torch.arange(start, start + length, device=device, dtype=widest(device))


def widest(device: torch.device) -> torch.dtype:
    """float64, or float32 on Apple's GPUs, which have nothing wider."""
    return torch.float32 if device.type == "mps" else torch.float64


def quadratures(amplitude: Tensor, angle: Tensor) -> Tensor:
    """[A cos, A sin] (..., 2W) of waves (..., W): the two components whose products interfere."""
    return torch.cat((amplitude * angle.cos(), amplitude * angle.sin()), dim=-1)


def energy(amplitude: Tensor) -> Tensor:
    """sum_w A^2, (..., 1)."""
    return amplitude.square().sum(-1, keepdim=True)
