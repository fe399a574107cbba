"""Options of every component in this package. Imports no torch, since every command reads them."""

from __future__ import annotations

from typing import Literal

import attrs

from lot import BadInput, option


@attrs.frozen(kw_only=True)
class InterferenceConfig:
    """Options of interference attention."""

    waves: int = option(16, ge=1, le=4096, help="number of waves W per token and head")
    evolution: Literal["evolved", "pairwise"] = option(
        "evolved",
        help="how phases depend on time. evolved: each wave runs on to p + w t, which takes matrix products only; pairwise: the "
        "published angle (w_q - w_k)(t_q - t_k) + p_q - p_k, which takes T x T x W work",
    )
    normalize: Literal["row", "energy", "softmax"] = option(
        "row",
        help=(
            "how intensities become weights. row: divided by their row sum (with evolved: O(T), decoding in O(1)); energy: "
            "divided by sum (A_q + A_k)^2, as published, so that rows do not sum to 1; softmax: softmax of intensity / "
            "sqrt(W) (with evolved: on fused attention)"
        ),
    )
    own_keys: bool = option(
        False, help="give keys their own waves; false: the waves of a token serve as query and as key"
    )
    bias: bool = option(
        False, help="give the amplitude, frequency and phase of a wave a learned bias each, as published"
    )
    causal: bool | None = option(
        None, help="attend to the token itself and earlier ones only; null: what the task asks for"
    )


@attrs.frozen(kw_only=True)
class PureWaveConfig:
    """Options of pure wave attention."""

    form: Literal["corrected", "published"] = option(
        "corrected",
        help=(
            "corrected: sines with learned amplitudes, weights over their row sum; published: sines of unit norm over the waves, "
            "times W^(1/4), and own keys; on scores, a learned scale per head, and weights over the root of the number of keys"
        ),
    )
    waves: int = option(
        16, ge=1, le=4096, help="number of waves W, and so of sine features A sin(p + w t), per token and head"
    )
    kernel: Literal["elu_plus_one", "sigmoid", "exp"] = option(
        "elu_plus_one", help="positive function by which weights are made: elu + 1, sigmoid, or exp"
    )
    kernel_on: Literal["features", "scores"] = option(
        "features",
        help=(
            "features: weight = kernel(q) . kernel(k), O(T), decoding in O(1); scores: weight = kernel(q . k / "
            "sqrt(W)), O(T^2); two different models"
        ),
    )
    own_keys: bool = option(
        False,
        help="give keys their own waves, as form=published does always; false: the waves of a token serve as query and as key",
    )
    causal: bool | None = option(
        None, help="attend to the token itself and earlier ones only; null: what the task asks for"
    )


@attrs.frozen(kw_only=True)
class WavePacketConfig:
    """Options of the wave-packet embedding."""

    form: Literal["corrected", "published"] = option(
        "corrected",
        help=(
            "corrected: the frequency of a token turns its waves along the positions; published: it is a constant phase, each "
            "wave has a learned frequency along the positions that all tokens share, and a LayerNorm comes last"
        ),
    )
    waves: int = option(
        48, ge=1, le=4096, help="number of waves W per token, equal in frequency, each with a learned phase"
    )
    harmonics: int = option(
        4, ge=1, le=64, help="number of harmonics n = 1, 2, ... per wave, at exactly n times its angle"
    )
    rank: Literal["auto", "frequency", "token_id"] = option(
        "auto",
        help="where the rank in a token's mass 1/(rank + 1) comes from. frequency: how often it occurs in the training data; "
        "token_id: its id, as published; auto: frequency where the task counts its tokens, else token_id; with "
        "form=published it is token_id",
    )
    frequency_scale: float | None = option(
        None,
        gt=0,
        help=(
            "radians per position of the heaviest token; null: the value with which the wave of the lightest token turns once "
            "over max_len; with form=published, turns that its constant phase is, and null is 1.0, as published"
        ),
    )
    learn_amplitudes: bool = option(
        False, help="learn the amplitudes of the harmonics, which start at 1/n; false: they stay 1/n"
    )
    anneal_steps: int = option(
        0,
        ge=0,
        help="optimizer steps over which a standard embedding fades out linearly; 0: waves alone from the start",
    )


@attrs.frozen(kw_only=True)
class WaveNativeConfig:
    """Options of the wave-native optimizer."""

    lr: float = option(0.1, ge=0, help="peak learning rate; a step moves about lr / damping times the mean gradient")
    damping: float = option(
        0.1, gt=0, le=1, help="share gamma of the velocity that is lost per step; momentum is 1 - gamma"
    )
    coherence_weight: float = option(
        0.7, ge=0, le=1, help="share c of the projected gradient, beside 1 - c of the raw one"
    )
    rank: int | None = option(
        64,
        ge=1,
        help=(
            "dimension r of the tracked singular subspaces that gradients of matrices are projected on; null: the full"
            " thin SVD of every matrix at every step, as published"
        ),
    )
    refresh: int = option(50, ge=1, help="steps between two updates of a tracked subspace")
    weight_decay: float = option(0.01, ge=0, help="weight decay; what it acts on and how: see `decay`")
    decay: Literal["decoupled", "l2"] = option(
        "decoupled",
        help="decoupled: parameters shrink beside the step, matrices and tables only; l2: weight_decay times the parameter joins "
        "the gradient of every parameter, and so runs through projection and momentum, as published",
    )
    project: Literal["matrices", "all"] = option(
        "matrices",
        help="whose gradients are projected. matrices: those of linear maps; all: of every 2-D parameter, tables too, as published",
    )
    foreach: bool | None = option(None, help="update all parameters at once; null: wherever torch can")


@attrs.frozen(kw_only=True)
class WaveCoherenceConfig:
    """Options of the wave coherence loss."""

    lambda_phase: float = option(
        0.01, ge=0, help="weight of the phase lock term: variance of phase over windows of positions"
    )
    lambda_energy: float = option(0.01, ge=0, help="weight of the energy term: change of the norm between layers")
    lambda_harmonic: float = option(
        0.01,
        ge=0,
        help="weight of the harmonic term: distance of the embedding's amplitudes from 1/n; the term is 0 where there are none",
    )
    window: int = option(8, ge=2, help="positions per window of the phase lock term")
    variance: Literal["circular", "angle", "unbiased_angle"] = option(
        "circular",
        help="circular: 1 - R; angle: variance of the wrapped angle, which jumps at +-pi; unbiased_angle: the unbiased one, over "
        "whole windows only, as published",
    )
    energy: Literal["relative", "absolute"] = option(
        "relative",
        help="how a norm changes from a to b between layers. relative: ((b - a) / (a + b))^2; absolute: |b - a|, as published",
    )


@attrs.frozen(kw_only=True)
class EmbeddingSpectrumConfig:
    """Options of the embedding spectrum."""

    tokens: int = option(8, ge=1, help="number of tokens measured, spread evenly over the ranks")
    length: int | None = option(
        None, ge=64, help="length of the signal that is transformed, in positions; null: 16 times max_len"
    )
    threshold: float = option(
        0.5,
        ge=0,
        le=1,
        help="share of tokens with peaks at f, 2f and 3f from which on the embedding is called harmonic",
    )


@attrs.frozen(kw_only=True)
class InterferenceMapConfig:
    """Options of the interference map."""

    layer: int = option(-1, help="layer whose weights are measured, counted from 0; -1 is the last")
    max_positions: int = option(128, ge=16, help="largest number of positions of the map that is stored")
    surrogates: int = option(200, ge=20, help="number of shuffled profiles from which the level of chance is taken")


@attrs.frozen(kw_only=True)
class TrajectoryConfig:
    """Options of trajectory stability."""

    directions: int = option(4, ge=1, help="number of random perturbations that are followed through the layers")
    epsilon: float = option(1e-3, gt=0, lt=1, help="size of a perturbation over the norm of the residual stream")
    examples: int = option(8, ge=1, help="number of sequences of the batch that are followed")


@attrs.frozen(kw_only=True)
class WaveInferenceConfig:
    """Options of the animation of inference."""

    prompt_tokens: int = option(32, ge=1, help="tokens of the validation example that are given as the prompt")
    new_tokens: int = option(24, ge=1, help="number of tokens that the model adds")
    temperature: float = option(0.8, ge=0, help="temperature of the sampling; 0: always the most likely token")
    candidates: int = option(8, ge=1, help="number of most likely next tokens that are shown")


def fits_layer(layer: int, layers: int) -> int:
    """`layer`, counted from 0 or, if negative, from the end. Raises BadInput where the model has no such layer."""
    if not -layers <= layer < layers:
        raise BadInput(
            where="diagnostics.interference_map.layer", expected=f"a layer from {-layers} to {layers - 1}", got=layer
        )
    return layer % layers
