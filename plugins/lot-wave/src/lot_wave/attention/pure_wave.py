"""Pure wave attention: sine features, and a positive kernel in place of the softmax."""

from __future__ import annotations

import functools
import math

from torch import Tensor

from lot import Dims
from lot_wave.attention.base import WaveAttention
from lot_wave.config import PureWaveConfig
from lot_wave.ops.blockwise import blockwise_attention
from lot_wave.ops.fused_softmax import softmax_of_product
from lot_wave.ops.positive_kernels import EPSILON, Kernel, apply_kernel
from lot_wave.ops.reference import pure_wave_weights
from lot_wave.ops.waves import Waves, evolved_phase


class PureWaveAttention(WaveAttention):
    """Weights kernel(s_q . s_k / sqrt(W)) or kernel(s_q) . kernel(s_k), over their row sum; s = A sin(p + w t)."""

    def __init__(self, config: PureWaveConfig, dims: Dims) -> None:
        super().__init__(config, dims)
        self.kernel, self.kernel_on = config.kernel, config.kernel_on
        self.linear = config.kernel_on == "features"

    def weights(self, query: Waves, key: Waves, allowed: Tensor, start: int) -> Tensor:
        """As `WaveAttention.weights`; rows sum to 1."""
        sq, sk = _sines(query, key, start)
        return pure_wave_weights(sq, sk, allowed, kernel=self.kernel, kernel_on=self.kernel_on)

    def features(self, query: Waves, key: Waves, start: int) -> tuple[Tensor, Tensor]:
        """kernel(s), (B, H, T, W)."""
        sq, sk = _sines(query, key, start)
        fq = apply_kernel(sq, self.kernel)
        return fq, fq if sk is sq else apply_kernel(sk, self.kernel)

    def mix(self, query: Waves, key: Waves, v: Tensor, start: int, padding: Tensor | None) -> Tensor:
        """As `WaveAttention.mix`."""
        sq, sk = _sines(query, key, start)
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


def _sines(query: Waves, key: Waves, start: int) -> tuple[Tensor, Tensor]:
    """A sin(p + w t) of queries and keys, (B, H, T, W); `start` is the position of the first key, queries come last."""
    first = start + key.phase.shape[-2] - query.phase.shape[-2]
    sq = query.amplitude * evolved_phase(query, first).sin()
    return sq, sq if key is query else key.amplitude * evolved_phase(key, start).sin()


def _kernel_of_scores(sq: Tensor, sk: Tensor, *, kernel: Kernel) -> Tensor:
    return apply_kernel(sq @ sk.transpose(-1, -2), kernel)
