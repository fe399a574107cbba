"""Pure wave attention: sine features, and a positive kernel in place of the softmax."""

from __future__ import annotations

import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lot import Dims, GeneratorFor
from lot_wave.attention.base import WaveAttention
from lot_wave.config import PureWaveConfig
from lot_wave.ops.blockwise import blockwise_attention
from lot_wave.ops.fused_softmax import softmax_of_product
from lot_wave.ops.positive_kernels import EPSILON, Kernel, apply_kernel
from lot_wave.ops.reference import published_score_weights, pure_wave_weights
from lot_wave.ops.waves import Waves, unit_circle


class PureWaveAttention(WaveAttention):
    """Weights kernel(s_q . s_k / sqrt(W)) or kernel(s_q) . kernel(s_k), over their row sum; s = A sin(p + w t).

    As published (`form`), s is sin(p + w t) over its norm, times W^(1/4), and scores weigh kernel(c_h s_q . s_k) over the
    root of the number of keys that a query sees, with c (H,) learned.
    """

    def __init__(self, config: PureWaveConfig, dims: Dims) -> None:
        self.published = config.form == "published"
        super().__init__(
            config,
            dims,
            own_keys=config.own_keys or self.published,
            bias=self.published,
            amplitude=not self.published,
        )
        self.kernel, self.kernel_on = config.kernel, config.kernel_on
        self.linear = config.kernel_on == "features"
        self.scale = nn.Parameter(torch.ones(dims.heads)) if self.published and not self.linear else None

    def reset_parameters(self, generator_for: GeneratorFor) -> None:
        """As `WaveAttention.reset_parameters`; the published scale starts at 1."""
        super().reset_parameters(generator_for)
        if self.scale is not None:
            nn.init.ones_(self.scale)

    def weights(self, query: Waves, key: Waves, allowed: Tensor, start: int) -> Tensor:
        """As `WaveAttention.weights`; rows sum to 1, but for scores as published."""
        sq, sk = self._sines(query, key, start)
        if self.scale is not None:
            return published_score_weights(sq, sk, allowed, kernel=self.kernel, scale=self.scale)
        return pure_wave_weights(sq, sk, allowed, kernel=self.kernel, kernel_on=self.kernel_on)

    def features(self, query: Waves, key: Waves, start: int) -> tuple[Tensor, Tensor]:
        """kernel(s), (B, H, T, W)."""
        sq, sk = self._sines(query, key, start)
        fq = apply_kernel(sq, self.kernel)
        return fq, fq if sk is sq else apply_kernel(sk, self.kernel)

    def mix(self, query: Waves, key: Waves, v: Tensor, start: int, padding: Tensor | None) -> Tensor:
        """As `WaveAttention.mix`."""
        sq, sk = self._sines(query, key, start)
        if self.scale is not None:
            y = blockwise_attention(
                functools.partial(_kernel_of_scores, kernel=self.kernel),
                (sq * self.scale.to(sq)[:, None, None],),
                (sk,),
                v,
                causal=self.causal,
                padding=padding,
                dropout=self.dropout(),
            )
            seen = _keys_seen(sq.shape[-2], sk.shape[-2], self.causal, padding, y.device)
            return y / seen.to(y.dtype).sqrt()[:, None, :, None]
        scale = 1 / math.sqrt(self.token_waves.waves)
        if self.kernel != "exp":
            return blockwise_attention(
                functools.partial(_kernel_of_scores, kernel=self.kernel),
                (sq * scale,),
                (sk,),
                v,
                causal=self.causal,
                padding=padding,
                dropout=self.dropout(),
                divide_by_row=EPSILON,
            )
        # exp over its row sum is softmax.
        return softmax_of_product(sq, sk, v, scale=scale, causal=self.causal, padding=padding, dropout=self.dropout())

    def _sines(self, query: Waves, key: Waves, start: int) -> tuple[Tensor, Tensor]:
        """s of queries and keys, (B, H, T, W); `start` is the position of the first key, queries come last."""
        first = start + key.phase.shape[-2] - query.phase.shape[-2]
        sq = query.amplitude * unit_circle(query, first)[1]
        sk = sq if key is query else key.amplitude * unit_circle(key, start)[1]
        if not self.published:
            return sq, sk
        size = self.token_waves.waves**0.25
        return size * F.normalize(sq, dim=-1), size * F.normalize(sk, dim=-1)


def _keys_seen(q_len: int, k_len: int, causal: bool, padding: Tensor | None, device: torch.device) -> Tensor:
    """How many of the keys each query, the last q_len of k_len positions, sees: (B or 1, q_len) int64."""
    there = torch.ones(1, k_len, dtype=torch.int64, device=device) if padding is None else (~padding).long()
    total = there.cumsum(-1) if causal else there.sum(-1, keepdim=True).expand(-1, k_len)
    return (total + 1 - there)[:, k_len - q_len :]  # a padded position sees itself


def _kernel_of_scores(sq: Tensor, sk: Tensor, *, kernel: Kernel) -> Tensor:
    return apply_kernel(sq @ sk.transpose(-1, -2), kernel)
