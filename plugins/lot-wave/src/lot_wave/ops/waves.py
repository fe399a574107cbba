"""The waves of a token: amplitude, frequency and phase, each linear in the token, and how phases evolve."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lot import Dims


class Waves(NamedTuple):
    """W waves of each token and head, each (B, H, T, W): amplitude >= 0, frequency (radians a token), phase."""

    amplitude: Tensor
    frequency: Tensor
    phase: Tensor

    def select(self, rows: slice) -> Waves:
        """The waves of the tokens `rows`."""
        return Waves(*(part[..., rows, :] for part in self))


class TokenWaves(nn.Module):
    """x (B, T, D) -> the waves of its tokens: A = softplus(x W_a), w = x W_f, p = x W_p, in float32 or wider.

    There is no bias: one on the phase, or on the frequency where only differences of frequency count, could not act.
    """

    def __init__(self, dims: Dims, waves: int) -> None:
        super().__init__()
        self.heads, self.waves = dims.heads, waves
        self.linear = nn.Linear(dims.width, 3 * dims.heads * waves, bias=False)
        self._noise: torch.Generator | None = None

    def forward(self, x: Tensor) -> Waves:
        """Waves, each part (B, H, T, W)."""
        B, T, _ = x.shape
        wide = torch.promote_types(x.dtype, torch.float32)
        # A frequency rounded to bfloat16 is off by radians after a few hundred tokens.
        with torch.autocast(x.device.type, enabled=False):
            flat = F.linear(x.to(wide), self.linear.weight.to(wide))
            parts = flat.view(B, T, 3, self.heads, self.waves).permute(2, 0, 3, 1, 4)  # (3, B, H, T, W)
            amplitude, frequency, phase = parts.unbind(0)
        if self._noise is not None:
            turn = torch.rand(phase.shape, generator=self._noise, dtype=torch.float32, device=self._noise.device)
            phase = phase + 2 * math.pi * turn.to(phase)
        return Waves(F.softplus(amplitude), frequency, phase)

    @contextlib.contextmanager
    def random_phases(self, generator: torch.Generator) -> Iterator[None]:
        """A context in which every wave starts at a random phase, drawn from `generator`."""
        self._noise = generator
        try:
            yield
        finally:
            self._noise = None


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
