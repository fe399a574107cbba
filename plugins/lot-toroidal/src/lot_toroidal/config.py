"""Options of everything in this package. Imports no torch."""

from __future__ import annotations

from typing import Any, Literal

import attrs

from lot import option


def _candidates(value: Any) -> str | None:
    return None if len(value) >= 2 and len(set(value)) == len(value) else "two or more different depths"


@attrs.frozen(kw_only=True)
class EncodingOptions:
    """How positions and platters are encoded."""

    period: int | None = option(
        None,
        ge=1,
        help="positions on the ring, N; a sequence may not be longer. null: the longest sequence of the model",
    )
    frequencies: Literal["integer", "geometric"] = option(
        "integer",
        help="integer: whole turns over the ring, so that a cyclic shift is exact; geometric: as RoPE and as published",
    )
    orthogonal: bool | None = option(
        None,
        help="make the platter frequencies orthogonal to those of the sequence (Gram-Schmidt); null: where a platter has "
        "the 4 channels that it takes",
    )


@attrs.frozen(kw_only=True)
class TorusOptions(EncodingOptions):
    """The torus that attention runs on."""

    depth: int = option(4, ge=1, help="platters that the channels of a head are split over; must divide the head width")
    lambda_distance: float = option(
        0.1, ge=0, help="how much a score falls with toroidal distance, in units of the score; 0: not at all"
    )
    fusion: Literal["low_rank", "attention", "mean"] = option(
        "low_rank", help="how platters are mixed afterwards: U V^T / sqrt(rank), attention over platters, or their mean"
    )
    rank: int | None = option(None, ge=1, help="low_rank: the rank, at most the depth; null: depth / 4, at least 1")


@attrs.frozen(kw_only=True)
class ToroidalConfig(TorusOptions):
    """Options of toroidal attention."""

    window: int | None = option(None, ge=0, help="see positions within this circular distance only; null: all of them")
    causal: bool | None = option(None, help="look at earlier positions only; null: as the task asks")
    backend: Literal["auto", "sdpa", "flex", "flash"] = option(
        "auto",
        help="sdpa: torch's fused attention, in tiles where it takes a bias; flex: FlexAttention on a GPU, tiles elsewhere; "
        "flash: FlashAttention, for lambda_distance = 0 without a window; auto: by device, shape and mask",
    )
    chunk: int | None = option(
        None, ge=1, help="sdpa: queries of a tile, in positions; changes no value. null: an eighth of them, 32 to 256"
    )
    recompute: bool = option(
        False, help="sdpa: recompute each tile in backward (activation checkpointing): less memory"
    )


@attrs.frozen(kw_only=True)
class RingConfig(TorusOptions):
    """Options of toroidal attention in blocks, over processes."""

    window: int | None = option(None, ge=0, help="see positions within this circular distance only; null: all of them")
    causal: bool | None = option(None, help="look at earlier positions only; null: as the task asks")
    block: int = option(256, ge=1, help="queries and keys of a tile, in positions; bounds memory, changes no value")
    balance: bool = option(
        True, help="under a causal mask, give each process an early and a late part, so that all work equally long"
    )


@attrs.frozen(kw_only=True)
class FFTConfig(TorusOptions):
    """Options of circulant attention."""

    causal: bool | None = option(None, help="look at earlier positions only; null: as the task asks")
    lags: Literal["position", "content"] = option(
        "position",
        help="what a score is made of: position: learned vectors, one score per lag; content: the mean over all tokens of the "
        "scores at that lag, which sees the future",
    )


@attrs.frozen(kw_only=True)
class LatentConfig(EncodingOptions):
    """Options of the streaming state."""

    depth: int = option(4, ge=1, help="platters that the state is split over; must divide its width")
    latent: int | None = option(None, ge=1, help="width of the state; null: that of the model")
    update: Literal["linear", "min_gru", "gru"] = option(
        "min_gru",
        help="linear: learned decay; min_gru: decay gated by the token; gru: the published cell, one position after another",
    )
    fusion: Literal["low_rank", "attention", "mean"] = option(
        "low_rank", help="how platters are mixed when the state is read"
    )
    rank: int | None = option(None, ge=1, help="low_rank: the rank, at most the depth; null: depth / 4, at least 1")


@attrs.frozen(kw_only=True)
class AdaptiveConfig(EncodingOptions):
    """Options of adaptive depth."""

    depths: tuple[int, ...] = option(
        (1, 2, 4), ge=1, check=_candidates, help="candidate numbers of platters; each must divide the head width"
    )
    route: bool = option(False, help="choose a depth without endy token by its input; false: one depth for the layer")
    temperature: float = option(2.0, gt=0, help="temperature of the Gumbel-softmax at step 0")
    min_temperature: float = option(0.2, gt=0, help="temperature that it falls to, exponentially")
    anneal_steps: int = option(300, ge=1, help="optimizer steps that the fall takes")
    lambda_distance: float = option(0.1, ge=0, help="how much a score falls with toroidal distance; 0: not at all")
    fusion: Literal["low_rank", "attention", "mean"] = option("low_rank", help="how platters are mixed afterwards")
    rank: int | None = option(
        None, ge=1, help="low_rank: the rank, or the depth where that is less; null: depth / 4, at least 1"
    )
    window: int | None = option(None, ge=0, help="see positions within this circular distance only; null: all of them")
    causal: bool | None = option(None, help="look at earlier positions only; null: as the task asks")
    backend: Literal["auto", "sdpa", "flex"] = option("auto", help="as in toroidal")
    chunk: int | None = option(
        None, ge=1, help="sdpa: queries of a tile, in positions; changes no value. null: an eighth of them, 32 to 256"
    )


@attrs.frozen(kw_only=True)
class ShiftErrorConfig:
    """Options of the shift-invariance error."""

    shifts: tuple[int, ...] = option((1, 4, 8, 16), ge=1, help="cyclic shifts to try, in positions")
    tolerance: float = option(1e-5, gt=0, help="error up to which the invariance counts as exact")
