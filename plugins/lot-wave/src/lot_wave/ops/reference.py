"""The formulas as they stand, every T x T x W tensor in full: what fast forms are tested against and drawn from."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from lot_wave.ops.positive_kernels import EPSILON, Kernel, apply_kernel
from lot_wave.ops.waves import Waves

Evolution = Literal["pairwise", "evolved"]
Normalize = Literal["energy", "row", "softmax"]


def interference_weights(
    query: Waves, key: Waves, allowed: Tensor, *, evolution: Evolution, normalize: Normalize, start: int = 0
) -> Tensor:
    """Weights (B, H, Tq, Tk) of interference attention; queries are the last Tq of the Tk positions from `start` on.

    I = sum_w A_q^2 + A_k^2 + 2 A_q A_k cos(angle), the angle being (w_q - w_k)(t_q - t_k) + p_q - p_k (`pairwise`) or
    the difference of the evolved phases p + w t (`evolved`). allowed: bool, broadcastable to the result.
    """
    q_len, k_len = query.phase.shape[-2], key.phase.shape[-2]
    t = torch.arange(start, start + k_len, device=key.phase.device, dtype=key.phase.dtype)
    tq, tk = t[k_len - q_len :, None, None], t[None, :, None]
    Aq, wq, pq = (part.unsqueeze(-2) for part in query)  # (B, H, Tq, 1, W)
    Ak, wk, pk = (part.unsqueeze(-3) for part in key)  # (B, H, 1, Tk, W)
    angle = (wq - wk) * (tq - tk) + pq - pk if evolution == "pairwise" else (pq + wq * tq) - (pk + wk * tk)
    intensity = (Aq**2 + Ak**2 + 2 * Aq * Ak * torch.cos(angle)).sum(-1)
    if normalize == "softmax":
        score = intensity / math.sqrt(query.phase.shape[-1])
        return score.masked_fill(~allowed, float("-inf")).softmax(-1)
    if normalize == "row":
        intensity = intensity.masked_fill(~allowed, 0.0)
        return intensity / (intensity.sum(-1, keepdim=True) + EPSILON)
    total = ((Aq + Ak) ** 2).sum(-1)
    return (intensity / (total + EPSILON)).masked_fill(~allowed, 0.0)


def pure_wave_weights(
    query: Tensor, key: Tensor, allowed: Tensor, *, kernel: Kernel, kernel_on: Literal["scores", "features"]
) -> Tensor:
    """Weights (B, H, Tq, Tk), each row summing to 1, of sine features query (B, H, Tq, W) and key (B, H, Tk, W)."""
    if kernel_on == "scores":
        score = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
        if kernel == "exp":
            return score.masked_fill(~allowed, float("-inf")).softmax(-1)
        weight = apply_kernel(score, kernel)
    else:
        weight = apply_kernel(query, kernel) @ apply_kernel(key, kernel).transpose(-1, -2)
    weight = weight.masked_fill(~allowed, 0.0)
    return weight / (weight.sum(-1, keepdim=True) + EPSILON)


def published_score_weights(query: Tensor, key: Tensor, allowed: Tensor, *, kernel: Kernel, scale: Tensor) -> Tensor:
    """Weights (B, H, Tq, Tk) kernel(c_h q . k) over the root of the number of keys seen; rows do not sum to 1.

    query (B, H, Tq, W), key (B, H, Tk, W): sine features. scale: c (H,).
    """
    weight = apply_kernel(scale.to(query)[:, None, None] * (query @ key.transpose(-1, -2)), kernel)
    seen = allowed.expand(weight.shape).sum(-1, keepdim=True)
    return weight.masked_fill(~allowed, 0.0) / seen.to(weight.dtype).sqrt()
