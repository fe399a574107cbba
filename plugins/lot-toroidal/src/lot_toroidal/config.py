"""Options of every component in this package. Imports no torch, since every command reads them."""

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
        help="number of positions on the ring, N; no sequence may be longer; null: the longest sequence of the model",
    )
    frequencies: Literal["integer", "geometric"] = option(
        "integer",
        help="integer: every frequency makes whole turns over the ring, so that a cyclic shift is exact; geometric: those of RoPE, "
        "as published",
    )
    orthogonal: bool | None = option(
        None,
        help="make the platter frequencies orthogonal to those of the sequence (Gram-Schmidt); null: where a platter has "
        "at least the 4 channels that this takes",
    )


@attrs.frozen(kw_only=True)
class TorusOptions(EncodingOptions):
    """The torus that attention runs on."""

    depth: int = option(
        4, ge=1, help="number of platters over which the channels of a head are split; must divide the head width"
    )
    lambda_distance: float = option(
        0.1, ge=0, help="how much a score falls per unit of toroidal distance, in units of the score; 0: not at all"
    )
    fusion: Literal["low_rank", "attention", "learned", "mean"] = option(
        "low_rank",
        help="how platters are mixed after attention. low_rank: U V^T / sqrt(rank); attention: by content, over platters; "
        "learned: one learned softmax matrix, as published under the name of attention; mean",
    )
    rank: int | None = option(None, ge=1, help="low_rank: its rank, at most the depth; null: depth / 4, at least 1")


@attrs.frozen(kw_only=True)
class ToroidalConfig(TorusOptions):
    """Options of toroidal attention."""

    form: Literal["corrected", "published"] = option(
        "corrected",
        help="corrected: a ring of `period` places; published: a ring as long as the sequence at hand, T, in the distance and in "
        "the encoding 2 pi i w / T + 2 pi k u / D, so that outputs depend on the length and there is no decoding cache",
    )
    window: int | None = option(
        None, ge=0, help="largest circular distance, in positions, that a query attends over; null: no limit"
    )
    causal: bool | None = option(
        None, help="attend to the token itself and earlier ones only; null: what the task asks for"
    )
    backend: Literal["auto", "sdpa", "flex", "flash"] = option(
        "auto",
        help="sdpa: torch's fused attention, in tiles where it takes a bias; flex: FlexAttention on a GPU, tiles elsewhere; "
        "flash: FlashAttention, for lambda_distance = 0 without a window; auto: by device, shape and mask",
    )
    chunk: int | None = option(
        None,
        ge=1,
        help="sdpa: positions of the queries of a tile; changes speed and memory only; null: an eighth of all, up to 256 and "
        "not below 32, or 64 / depth where that is less",
    )
    recompute: bool = option(
        False, help="sdpa: recompute each tile in the backward pass (activation checkpointing), which takes less memory"
    )


@attrs.frozen(kw_only=True)
class RingConfig(TorusOptions):
    """Options of toroidal attention in blocks, over processes."""

    window: int | None = option(
        None, ge=0, help="largest circular distance, in positions, that a query attends over; null: no limit"
    )
    causal: bool | None = option(
        None, help="attend to the token itself and earlier ones only; null: what the task asks for"
    )
    block: int = option(
        256, ge=1, help="positions of the queries and of the keys of a tile; changes speed and memory only"
    )
    balance: bool = option(
        True,
        help="under a causal mask, give each process an early and a late part of the sequence, so that all have equal work",
    )


@attrs.frozen(kw_only=True)
class FFTConfig(TorusOptions):
    """Options of circulant attention."""

    causal: bool | None = option(
        None, help="attend to the token itself and earlier ones only; null: what the task asks for"
    )
    lags: Literal["position", "content"] = option(
        "position",
        help="what the score at a lag is. position: a function of learned vectors, one score per lag; content: the mean of the "
        "scores of all tokens at that lag, which sees the future",
    )


@attrs.frozen(kw_only=True)
class LatentConfig(EncodingOptions):
    """Options of the streaming state."""

    depth: int = option(
        4,
        ge=1,
        help="number of platters over which the state is split; must divide its width, or with gru_per_head that of a head",
    )
    latent: int | None = option(
        None,
        ge=1,
        help="width of the state, in channels, with gru_per_head of each head; null: that of the model, or of a head",
    )
    update: Literal["linear", "min_gru", "gru", "gru_per_head"] = option(
        "min_gru",
        help="how the state decays. linear: by a learned rate; min_gru: by a rate that depends on the token; gru: the published "
        "cell, one position after another; gru_per_head: as published: that cell in each head, on keys and values averaged over "
        "platters, read through a gate of the query",
    )
    fusion: Literal["low_rank", "attention", "learned", "mean"] = option(
        "low_rank", help="how platters are mixed when the state is read"
    )
    rank: int | None = option(None, ge=1, help="low_rank: its rank, at most the depth; null: depth / 4, at least 1")


@attrs.frozen(kw_only=True)
class AdaptiveConfig(EncodingOptions):
    """Options of adaptive depth."""

    depths: tuple[int, ...] = option(
        (1, 2, 4), ge=1, check=_candidates, help="candidate numbers of platters; each must divide the head width"
    )
    route: bool = option(False, help="choose a depth for every token from its vector; false: one depth for the layer")
    temperature: float = option(2.0, gt=0, help="temperature of the Gumbel-softmax at step 0")
    min_temperature: float = option(0.2, gt=0, help="temperature after the fall, which is exponential in the step")
    anneal_steps: int = option(300, ge=1, help="optimizer steps that the fall of the temperature takes")
    lambda_distance: float = option(
        0.1, ge=0, help="how much a score falls per unit of toroidal distance; 0: not at all"
    )
    fusion: Literal["low_rank", "attention", "learned", "mean"] = option(
        "low_rank", help="how platters are mixed after attention"
    )
    rank: int | None = option(
        None, ge=1, help="low_rank: its rank, or the depth where that is less; null: depth / 4, at least 1"
    )
    window: int | None = option(
        None, ge=0, help="largest circular distance, in positions, that a query attends over; null: no limit"
    )
    causal: bool | None = option(
        None, help="attend to the token itself and earlier ones only; null: what the task asks for"
    )
    backend: Literal["auto", "sdpa", "flex"] = option("auto", help="the form that computes, as in toroidal")
    chunk: int | None = option(
        None,
        ge=1,
        help="sdpa: positions of the queries of a tile; changes speed and memory only; null: an eighth of all, up to 256 and "
        "not below 32, or 64 / depth where that is less",
    )


@attrs.frozen(kw_only=True)
class ShiftErrorConfig:
    """Options of the shift-invariance error."""

    shifts: tuple[int, ...] = option((1, 4, 8, 16), ge=1, help="cyclic shifts to try, in positions")
    tolerance: float = option(1e-5, gt=0, help="error up to which the invariance counts as exact")
