"""The waves of tokens as tensors: amplitude, frequency and phase, and how phases evolve with the position."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

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
    """The phase p + w t at position t, in [-pi, pi], (B, H, T, W); `start` is the position of the first token.

    The product is formed in float64, since at t = 8192 a float32 angle has an error of about 5e-4 radians.
    """
    return turn(waves.phase, waves.frequency, positions(waves.phase.shape[-2], start, waves.phase.device)[:, None])


def unit_circle(waves: Waves, start: int = 0) -> tuple[Tensor, Tensor]:
    """cos and sin of `evolved_phase`, each (B, H, T, W)."""
    time = positions(waves.phase.shape[-2], start, waves.phase.device)[:, None]
    if torch.is_grad_enabled() and not torch.compiler.is_exporting():
        return _UnitCircle.apply(waves.phase, waves.frequency, time)  # type: ignore[no-any-return]
    angle = turn(waves.phase, waves.frequency, time)
    return angle.cos(), angle.sin()


class _UnitCircle(torch.autograd.Function):
    """cos and sin of p + w t. Backward reads them again, and needs no float64: neither 1 nor t is rounded."""

    @staticmethod
    def forward(ctx: Any, phase: Tensor, frequency: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
        angle = turn(phase, frequency, time)
        cosine, sine = angle.cos(), angle.sin_()
        ctx.save_for_backward(cosine, sine, time)
        ctx.set_materialize_grads(False)
        return cosine, sine

    @staticmethod
    def backward(ctx: Any, of_cosine: Tensor | None, of_sine: Tensor | None) -> tuple[Tensor | None, ...]:
        cosine, sine, time = ctx.saved_tensors
        parts = [] if of_sine is None else [of_sine * cosine]
        if of_cosine is not None:
            parts.append(-of_cosine * sine)
        if not parts:
            return None, None, None
        of_angle: Tensor = parts[0] if len(parts) == 1 else parts[0] + parts[1]
        return of_angle, of_angle * time.to(of_angle.dtype), None


def turn(phase: Tensor, frequency: Tensor, time: Tensor) -> Tensor:
    """phase + frequency * time in [-pi, pi], in the dtype of `phase`, formed in the widest float of its device."""
    wide = widest(phase.device)
    angle = phase.to(wide) + frequency.to(wide) * time.to(wide)
    # Not torch.remainder, which divides one number after the other.
    turns = (angle.detach() * (0.5 / math.pi)).round()
    return torch.sub(angle, turns, alpha=2 * math.pi).to(phase.dtype)


def positions(length: int, start: int, device: torch.device) -> Tensor:
    """start, start + 1, ... (length,) in the widest float of `device`."""
    return torch.arange(start, start + length, device=device, dtype=widest(device))


def widest(device: torch.device) -> torch.dtype:
    """float64, or float32 on Apple's GPUs, which have nothing wider."""
    return torch.float32 if device.type == "mps" else torch.float64


def quadratures(waves: Waves, start: int) -> tuple[Tensor, Tensor]:
    """A cos and A sin of the evolved phases, each (B, H, T, W): the two components whose products interfere."""
    cosine, sine = unit_circle(waves, start)
    return waves.amplitude * cosine, waves.amplitude * sine


def energy(amplitude: Tensor) -> Tensor:
    """sum_w A^2, (..., 1)."""
    return amplitude.square().sum(-1, keepdim=True)
