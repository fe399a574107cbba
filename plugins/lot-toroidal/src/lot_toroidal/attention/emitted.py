"""The signals that toroidal attention gives on request: attention, platter_attention, platter_mixing."""

from __future__ import annotations

import torch
from torch import Tensor

from lot.nn import attention_weights
from lot_toroidal.ops.reference import dense_weights
from lot_toroidal.ops.torus import Torus


def attention_signals(
    q: Tensor, k: Tensor, torus: Torus, want: frozenset[str], padding: Tensor | None = None, mask: Tensor | None = None
) -> dict[str, Tensor]:
    """Those in `want` of attention (B, H, T, T), mean over query platters and sum over key platters, and of
    platter_attention (H, T, T, D), key platters apart, mean over batch and query platters; rows sum to 1.

    q, k (B, H, T, D, p). Memory for one example's full weights at a time.
    """
    signals: dict[str, Tensor] = {}
    if not want & {"attention", "platter_attention"}:
        return signals
    if torch.compiler.is_exporting():  # one program serves all batch sizes
        weights = dense_weights(q, k, torus, padding=padding, mask=mask).mean(3)  # (B, H, T, T, D)
        every = {"attention": weights.sum(-1), "platter_attention": weights.mean(0)}
        return {name: every[name] for name in sorted(want & every.keys())}
    by_example: list[Tensor] = []
    by_platter: Tensor | None = None
    for b in range(q.shape[0]):
        one = slice(b, b + 1)
        weights = dense_weights(
            q[one],
            k[one],
            torus,
            padding=None if padding is None else padding[one],
            mask=None if mask is None else mask[one],
        )[0].mean(2)  # (H, T, T, D)
        by_example.append(weights.sum(-1))
        by_platter = weights if by_platter is None else by_platter + weights
    if "attention" in want:
        signals["attention"] = torch.stack(by_example)
    if "platter_attention" in want and by_platter is not None:
        signals["platter_attention"] = by_platter / q.shape[0]
    return signals


def mixing_signal(matrix: Tensor, want: frozenset[str]) -> dict[str, Tensor]:
    """platter_mixing (D, D): the fusion's matrix, averaged over everything that it depends on."""
    if "platter_mixing" not in want:
        return {}
    return {"platter_mixing": matrix.flatten(0, -3).mean(0) if matrix.dim() > 2 else matrix}


def neutral_signals(
    q: Tensor, k: Tensor, torus: Torus, want: frozenset[str], padding: Tensor | None = None
) -> dict[str, Tensor]:
    """Those in `want` of the signals of vanilla attention with q, k (B, H, T, d).

    A weight is shared by all D platters of a key, and platters are not mixed.
    """
    signals: dict[str, Tensor] = {}
    D = torus.depth
    if want & {"attention", "platter_attention"}:
        weights = attention_weights(q, k, causal=torus.causal, padding=padding)
        if "attention" in want:
            signals["attention"] = weights
        if "platter_attention" in want:
            signals["platter_attention"] = (weights.mean(0) / D)[..., None].expand(-1, -1, -1, D)
    return signals | mixing_signal(torch.eye(D, device=q.device, dtype=q.dtype), want)
