"""How coherent hidden states are, and how harmonic amplitudes: what the loss penalizes and the diagnostics report."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def phase_variance(hidden: Tensor, window: int, variance: str, padding: Tensor | None = None) -> Tensor:
    """Mean variance () of phase over windows of positions; hidden (L + 1, B, T, D).

    The phases are the angles of the real FFT over features, one for each of its D // 2 + 1 bins. Windows do not
    overlap. circular: 1 - R, in [0, 1], from unit vectors, so that a bin of size 0 counts as no direction and gives no
    NaN. angle: variance of the angle in (-pi, pi], in squared radians. unbiased_angle: the unbiased one, of windows that
    are whole. padding (B, T): positions that are left out; `window_count` says which windows are.
    """
    spectrum = torch.fft.rfft(hidden.to(torch.promote_types(hidden.dtype, torch.float32)), dim=-1)  # (L + 1, B, T, F)
    B, T = hidden.shape[1:3]
    there = torch.ones(B, T, dtype=torch.bool, device=hidden.device) if padding is None else ~padding
    size = window if variance == "unbiased_angle" else min(window, T)
    spectrum = F.pad(spectrum, (0, 0, 0, -T % size)).reshape(
        len(hidden), B, -1, size, spectrum.shape[-1]
    )  # (L + 1, B, n, size, F)
    weight = F.pad(there, (0, -T % size)).reshape(B, -1, size, 1).to(spectrum.real.dtype)
    count = weight.sum(-2)  # (B, n, 1)
    if variance == "circular":
        length = spectrum.abs()
        unit = spectrum / torch.where(length > 0, length, 1.0)
        mean = (unit * weight).sum(-2) / count.clamp(min=1)
        square = mean.real.square() + mean.imag.square()
        spread = 1 - torch.where(square > 0, torch.where(square > 0, square, 1.0).sqrt(), 0.0)
    else:
        angle = spectrum.angle()
        mean = (angle * weight).sum(-2, keepdim=True) / count.clamp(min=1)[..., None, :]
        divisor = count - 1 if variance == "unbiased_angle" else count
        spread = ((angle - mean).square() * weight).sum(-2) / divisor.clamp(min=1)
    scored = (count >= _least(size, variance)).to(spread.dtype).expand_as(spread)
    return (spread * scored).sum() / scored.sum().clamp(min=1)


def _least(size: int, variance: str) -> int:
    """Positions that a window of `size` has at least to be scored."""
    return size if variance == "unbiased_angle" else 2


def window_count(ids: Tensor, window: int, variance: str, padding: Tensor | None = None) -> Tensor:
    """The number () int64 of windows that `phase_variance` takes its mean over, of tokens ids (B, T).

    Those of `window` positions (unbiased_angle), or those with two positions or more, the last one being shorter.
    """
    size = window if variance == "unbiased_angle" else min(window, ids.shape[1])
    there = torch.ones_like(ids) if padding is None else (~padding).long()
    kept = F.pad(there, (0, -ids.shape[1] % size)).unflatten(1, (-1, size)).sum(-1)  # (B, n) positions of each window
    return (kept >= _least(size, variance)).sum()


def norm_drift(hidden: Tensor, padding: Tensor | None = None, change: str = "relative") -> Tensor:
    """Mean change () of the norm from a to b between layers; hidden (L + 1, B, T, D).

    change: `relative`, ((b - a) / (a + b))^2, in [0, 1]; `absolute`, |b - a|. padding (B, T): positions that are left out.
    """
    norm = torch.linalg.vector_norm(
        hidden.to(torch.promote_types(hidden.dtype, torch.float32)), dim=-1
    )  # (L + 1, B, T)
    drift = norm[1:] - norm[:-1]
    if change == "absolute":
        drift = drift.abs()
    else:
        total = norm[1:] + norm[:-1]
        drift = (drift / torch.where(total > 0, total, 1.0)).square()
    if padding is None:
        return drift.mean()  # type: ignore[no-any-return]
    there = (~padding).to(drift.dtype).expand_as(drift)
    return (drift * there).sum() / there.sum().clamp(min=1)  # type: ignore[no-any-return]


def infidelity(amplitude: Tensor) -> Tensor:
    """Mean distance () of amplitudes (V, W, N), as shares of their sum, from the natural series 1/n."""
    N = amplitude.shape[-1]
    series = 1 / torch.arange(1, N + 1, device=amplitude.device, dtype=amplitude.dtype)
    share = amplitude / amplitude.sum(-1, keepdim=True)
    return (share - series / series.sum()).abs().mean()
