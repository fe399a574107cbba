"""Interference attention: tokens are bundles of waves, and a pair weighs as much as its waves add up."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from lot import Dims
from lot_wave.attention.base import WaveAttention
from lot_wave.config import InterferenceConfig
from lot_wave.ops.blockwise import blockwise_attention
from lot_wave.ops.fused_softmax import softmax_of_product
from lot_wave.ops.pairwise import pairwise_attention
from lot_wave.ops.positive_kernels import EPSILON
from lot_wave.ops.reference import interference_weights
from lot_wave.ops.waves import Waves, energy, quadratures


class InterferenceAttention(WaveAttention):
    """Weights from the intensity I = sum_w A_q^2 + A_k^2 + 2 A_q A_k cos(angle_w) of two tokens' waves.

    Forms: pairwise angles in tiles (`lot_wave.ops.pairwise`). Evolved phases separate, so that I is a product of 2W + 2
    features: with `row` that is linear attention, with `softmax` it runs on fused attention, with `energy` in blocks.
    """

    def __init__(self, config: InterferenceConfig, dims: Dims) -> None:
        super().__init__(config, dims, own_keys=config.own_keys, bias=config.bias)
        self.evolution, self.normalize = config.evolution, config.normalize
        self.linear = config.evolution == "evolved" and config.normalize == "row"

    def weights(self, query: Waves, key: Waves, allowed: Tensor, start: int) -> Tensor:
        """As `WaveAttention.weights`; rows sum to 1 but for `energy`."""
        return interference_weights(
            query, key, allowed, evolution=self.evolution, normalize=self.normalize, start=start
        )

    def features(self, query: Waves, key: Waves, start: int) -> tuple[Tensor, Tensor]:
        """I = features of q . features of k, (B, H, T, 2W + 2) each."""
        of_query = _interfering(query, start + key.phase.shape[-2] - query.phase.shape[-2])
        of_key = of_query if key is query else _interfering(key, start)
        return _plus_energies(of_query, query, of_key, key)

    def mix(self, query: Waves, key: Waves, v: Tensor, start: int, padding: Tensor | None) -> Tensor:
        """As `WaveAttention.mix`."""
        if self.evolution == "pairwise":
            return pairwise_attention(
                query,
                key,
                v,
                normalize=self.normalize,
                causal=self.causal,
                padding=padding,
                dropout=self.dropout(),
            )
        fq, fk = self.features(query, key, start)
        if self.normalize == "softmax":
            # sum_w A_q^2, the last feature, is one number for all keys of a query: softmax cancels it.
            return softmax_of_product(
                fq[..., :-1],
                fk[..., :-1],
                v,
                scale=1 / math.sqrt(self.token_waves.waves),
                causal=self.causal,
                padding=padding,
                dropout=self.dropout(),
            )
        eq, ek = _plus_energies([2 * query.amplitude], query, [key.amplitude], key)
        return blockwise_attention(
            _share_of_energy, (fq, eq), (fk, ek), v, causal=self.causal, padding=padding, dropout=self.dropout()
        )


def _interfering(waves: Waves, start: int) -> tuple[Tensor, Tensor]:
    """Quadratures of both sides whose product is 2 A_q A_k cos(angle): each side has half of the 2, so that both may be one."""
    return quadratures(waves._replace(amplitude=math.sqrt(2) * waves.amplitude), start)


def _plus_energies(left: Sequence[Tensor], query: Waves, right: Sequence[Tensor], key: Waves) -> tuple[Tensor, Tensor]:
    """Features whose product is left . right + sum_w A_q^2 + sum_w A_k^2."""
    of_query = energy(query.amplitude)
    of_key = of_query if key is query else energy(key.amplitude)
    return (
        torch.cat((*left, torch.ones_like(of_query), of_query), dim=-1),
        torch.cat((*right, of_key, torch.ones_like(of_key)), dim=-1),
    )


def _share_of_energy(fq: Tensor, eq: Tensor, fk: Tensor, ek: Tensor) -> Tensor:
    """I / (E + epsilon), both products of features."""
    return (fq @ fk.transpose(-1, -2)) / ((eq @ ek.transpose(-1, -2)) + EPSILON)
