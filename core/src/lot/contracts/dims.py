"""Sizes and choices of a model, for the modules that are built for it.

Letters: D width, H heads, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

Positions = Literal["learned", "rotary", "none"]
"""How positions are encoded: added by the trunk, turned into queries and keys by the attention, or not at all."""


@dataclass(frozen=True, kw_only=True)
class Dims:
    """What a module must know about the model around it.

    layer counts from 0; max_len in tokens; causal: asked for by the task; positions: how the trunk encodes
    positions (`rotary` is applied by the attention); dropout: probability on attention weights while training;
    token_counts: (V,) int64 occurrences in the training split, or None where the task does not count.
    head_channels: channels of a head where they are not D / H. kv_heads: heads of keys and values, each of which serves
    H / kv_heads heads of queries; None: H. qk_norm: whether queries and keys of a head are normalized (RMS) before they are
    turned. rope_base, rotary_fraction: the slowest rotary wavelength / 2 pi, and the share of a head's channels that turn.
    bias: whether linear maps have one. qkv_bias: whether those to queries, keys and values have one; None: as `bias`.
    mlp_ratio: channels inside an MLP, divided by D. norm_eps: added to a variance.
    `lot.nn.Projections` heeds what concerns heads; a mechanism without them is refused where these are not the defaults.
    """

    width: int
    heads: int
    max_len: int
    vocab_size: int
    layer: int = 0
    layers: int = 1
    causal: bool = True
    positions: Positions = "learned"
    dropout: float = 0.0
    token_counts: Tensor | None = None
    head_channels: int | None = None
    kv_heads: int | None = None
    qk_norm: bool = False
    rope_base: float = 10000.0
    rotary_fraction: float = 1.0
    bias: bool = True
    qkv_bias: bool | None = None
    mlp_ratio: float = 4.0
    norm_eps: float = 1e-5

    @property
    def head_width(self) -> int:
        """Channels of a head: d = D / H unless `head_channels` says otherwise."""
        return self.width // self.heads if self.head_channels is None else self.head_channels

    @property
    def hidden(self) -> int:
        """Channels inside an MLP."""
        return max(1, round(self.mlp_ratio * self.width))
