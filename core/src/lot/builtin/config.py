"""Options of the core's own components. Imports no torch, since every command reads them."""

from __future__ import annotations

import attrs

from lot.options.declare import option


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
