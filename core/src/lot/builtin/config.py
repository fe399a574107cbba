"""Options of the core's own components. Imports no torch, since every command reads them."""

from __future__ import annotations

from typing import Literal

import attrs

from lot.errors import BadInput
from lot.options.declare import option, other_defaults
from lot.plugins.sizes import Sizes


@attrs.frozen(kw_only=True)
class DecoderConfig:
    """Options of the decoder around attention and MLP."""

    width: int = option(128, ge=1, le=1 << 20, help="channels of the residual stream")
    heads: int = option(8, ge=1, le=1 << 16, help="attention heads; must divide the width")
    layers: int = option(2, ge=1, le=4096, help="blocks of attention and MLP")
    mlp_ratio: float = option(
        4.0, gt=0, le=256, help="hidden width of the MLP divided by the width; rounded to whole channels"
    )
    dropout: float = option(
        0.0, ge=0, lt=1, help="probability of dropping embeddings, attention weights and residual branches"
    )
    positions: Literal["learned", "rotary", "none"] = option("learned", help="how positions are encoded")
    max_len: int | None = option(None, ge=1, help="longest sequence, in tokens; null: the length that the task has")
    tie: bool = option(False, help="use the token embedding as the output head")
    recompute: bool = option(False, help="recompute activations in backward (activation checkpointing): less memory")
    norm: Literal["layer", "rms"] = option("layer", help="norm of the residual stream: LayerNorm or RMSNorm")
    norm_eps: float = option(1e-5, gt=0, le=1, help="added to the variance in every norm")
    bias: bool = option(
        True,
        help="biases in the linear maps of projections and MLP, and in LayerNorm; a mechanism's own maps keep theirs",
    )
    head_bias: bool = option(False, help="a bias on the logits")
    head_width: int | None = option(
        None, ge=1, le=1 << 16, help="channels of a head; null: the width divided by the heads"
    )
    kv_heads: int | None = option(
        None, ge=1, le=1 << 16, help="heads of keys and values, a divisor of the heads; null: as many as heads"
    )
    qk_norm: bool = option(False, help="normalize queries and keys of a head (RMSNorm) before they are turned")
    rope_base: float = option(
        10000.0, gt=1, help="base of rotary frequencies: the slowest wavelength in positions, divided by 2 pi"
    )
    rotary_fraction: float = option(1.0, gt=0, le=1, help="share of a head's channels that rotary positions turn")
    parallel: bool = option(False, help="attention and MLP read the same norm and are added at once")

    def __attrs_post_init__(self) -> None:
        if self.head_width is None and self.width % self.heads:
            raise BadInput(where="heads", expected=f"a divisor of the width {self.width}", got=self.heads)
        if round(self.mlp_ratio * self.width) < 1:
            raise BadInput(
                where="mlp_ratio",
                expected=f"at least {1 / self.width:.3g}, one channel of the MLP at width {self.width}",
                got=self.mlp_ratio,
            )
        if self.positions != "rotary":
            for name, neutral in (("rope_base", 10000.0), ("rotary_fraction", 1.0)):
                if getattr(self, name) != neutral:
                    raise BadInput(
                        where=name, expected="its default, for without rotary positions it has no effect",
                        got=getattr(self, name), fix="set model.positions=rotary",
                    )  # fmt: skip

    def sizes(self) -> Sizes:
        """What the parts of a decoder must know of it."""
        return Sizes(
            width=self.width,
            heads=self.heads,
            layers=self.layers,
            max_len=self.max_len,
            positions=self.positions,
            dropout=self.dropout,
            details={
                "head_channels": self.head_width,
                "kv_heads": self.kv_heads,
                "qk_norm": self.qk_norm,
                "rope_base": self.rope_base,
                "rotary_fraction": self.rotary_fraction,
                "bias": self.bias,
                "mlp_ratio": self.mlp_ratio,
                "norm_eps": self.norm_eps,
            },
        )


@attrs.frozen(kw_only=True, field_transformer=other_defaults(tie=True))
class GPT2Config(DecoderConfig):
    """Options of a decoder with the architecture of GPT-2, at the size that they give."""


@attrs.frozen(
    kw_only=True,
    field_transformer=other_defaults(positions="rotary", norm="rms", bias=False, mlp_ratio=8 / 3),
)
class LlamaConfig(DecoderConfig):
    """Options of a decoder with the architecture of Llama, at the size that they give."""

    def sizes(self) -> Sizes:
        """As a decoder, with a gated MLP."""
        return attrs.evolve(super().sizes(), mlp="swiglu")


@attrs.frozen(kw_only=True)
class VanillaConfig:
    """Options of vanilla attention."""

    causal: bool | None = option(
        None, help="attend to the token itself and earlier ones only; null: what the task asks for"
    )


@attrs.frozen(kw_only=True)
class AdamWConfig:
    """Options of AdamW."""

    lr: float = option(1e-3, ge=0, help="peak learning rate")
    weight_decay: float = option(0.01, ge=0, help="decoupled weight decay, on matrices only")
    betas: tuple[float, float] = option((0.9, 0.98), ge=0, lt=1, help="decay rates of the first and the second moment")
    eps: float = option(1e-8, gt=0, help="added to the square root of the second moment")


@attrs.frozen(kw_only=True)
class MuonConfig:
    """Options of Muon with AdamW."""

    lr: float = option(1e-3, ge=0, help="peak learning rate of AdamW, for embeddings, head, norms, biases, scalars")
    matrix_lr: float = option(0.02, ge=0, help="peak learning rate of Muon, for hidden matrices")
    momentum: float = option(0.95, ge=0, lt=1, help="momentum of Muon")
    nesterov: bool = option(True, help="use the Nesterov form of the momentum")
    weight_decay: float = option(0.01, ge=0, help="decoupled weight decay, on matrices only")
    betas: tuple[float, float] = option((0.9, 0.98), ge=0, lt=1, help="decay rates of AdamW's first and second moment")
    eps: float = option(1e-8, gt=0, help="added to the square root of AdamW's second moment")


@attrs.frozen(kw_only=True)
class CrossEntropyConfig:
    """Options of cross-entropy."""

    label_smoothing: float = option(
        0.0, ge=0, lt=1, help="share of the target probability that is spread evenly over all tokens"
    )


@attrs.frozen(kw_only=True)
class AttentionMapConfig:
    """Options of the attention map."""

    example: int = option(0, ge=0, le=1 << 16, help="which sequence of the batch is shown, counted from 0")
    positions: int = option(48, ge=1, le=4096, help="positions that are shown, from the first on")
