"""What this package registers, as data. Imports no torch, since every command reads it."""

from __future__ import annotations

from lot import Component, hookimpl

PROJECT = "Toroidal Attention (torodial-attention), 2025"
NEUTRAL = "Neutral form: one platter of all channels, no fusion, no distance, no window, and the positions of the trunk"
TORUS_SIGNALS = frozenset({"attention", "platter_attention", "platter_mixing"})


@hookimpl
def lot_attentions() -> list[Component]:
    return [*_exact(), *_variants()]


def _exact() -> list[Component]:
    """Toroidal attention without approximation, in one process and over several."""
    return [
        Component(
            name="toroidal",
            summary="Positions lie on a ring, a head's channels form stacked platters, and scores fall with toroidal distance.",
            factory="lot_toroidal.attention.toroidal:ToroidalAttention",
            config="lot_toroidal.config:ToroidalConfig",
            reference=PROJECT,
            emits=TORUS_SIGNALS,
            watch=("fusion_rank",),
            notes=(
                "With the frequencies of RoPE (frequencies=geometric) a cyclic shift of the input is not exact; the source's "
                "code is off by 0.004 to 0.009, its README says 0.02. Corrected (the default): whole turns over the ring, "
                "exact when the sequence fills the ring and nothing is masked.",
                "form=published has the source's encoding and distance, which depend on the current length T, so that it has no "
                "decoding cache. Outputs equal the source's to 3e-8 once its cosines and sines are copied in; the default form "
                "differs by 2.6e-2 to 3.2e-2.",
                "The source's fusion by attention is one learned D x D matrix, whatever the content: fusion=learned. "
                "fusion=attention depends on the content; the two cannot be mapped onto each other.",
                "The source's module ignores the 4-D causal mask that its host model passes, so that the future leaks into "
                "every prediction; causal=false with allow_leak repeats that.",
                "By default the ring is a fixed period, so that scores do not change while decoding.",
                "low_rank fusion of rank r leaves r / depth of a head's freedom (the default, as published: a quarter): see "
                "the diagnostic fusion_rank.",
                "With depth=1, lambda_distance=0 and no window it is rotary attention on plain fused kernels.",
                f"{NEUTRAL}.",
            ),
        ),
        Component(
            name="toroidal_ring",
            summary="Toroidal attention in blocks over a ring of processes, each of which holds a part of the sequence.",
            factory="lot_toroidal.attention.ring:RingAttention",
            config="lot_toroidal.config:RingConfig",
            reference=f"{PROJECT}; Liu et al., Ring Attention with Blockwise Transformers, 2023",
            emits=TORUS_SIGNALS,
            notes=(
                "As published, each block was normalized by itself (off by 0.36 with four blocks) and nothing was sent. "
                "Here blocks are merged by their log-sum-exp, and the ring equals dense attention.",
                "Under torchrun, train.context_parallel=N spreads each sequence over N processes; without it a process holds "
                "whole sequences and works through them block by block.",
                "It cannot drop attention weights: model.dropout must be 0.",
                f"{NEUTRAL}.",
            ),
        ),
    ]


def _variants() -> list[Component]:
    """Mechanisms that keep the torus and change what happens on it."""
    return [
        Component(
            name="toroidal_fft",
            summary="Scores depend on the lag only, so that attention is a convolution on the ring, computed by FFT.",
            factory="lot_toroidal.attention.fft:FFTAttention",
            config="lot_toroidal.config:FFTConfig",
            reference=PROJECT,
            emits=frozenset({"attention", "platter_mixing"}),
            watch=("circulant_error",),
            notes=(
                "lags=position is a mechanism of its own and exact. lags=content approximates toroidal attention by the mean "
                "score at each lag; that mean is over all tokens, so it cannot be causal. The diagnostic circulant_error says "
                "how far it is off.",
                "differs: at content lags the source takes the sum over tokens where the mean is taken here; after rescaling "
                "they agree to 4e-16.",
                "Causal lags are convolved block by block, past into future only: the future is left out to the last bit, at "
                "O(T log^2 T) instead of O(T log T).",
                "It cannot drop attention weights: model.dropout must be 0.",
                "No neutral form: at position lags there are no queries and keys of tokens. With lags=content it is vanilla "
                "attention with the same projections.",
            ),
        ),
        Component(
            name="toroidal_latent",
            summary="A state of fixed size that turns on the ring: O(1) memory while streaming.",
            factory="lot_toroidal.attention.latent_heads:latent_attention",
            config="lot_toroidal.config:LatentConfig",
            reference=f"{PROJECT}; min_gru: Feng et al., Were RNNs All We Needed?, 2024",
            emits=frozenset({"platter_mixing"}),
            watch=("fusion_rank",),
            notes=(
                "linear and min_gru train in parallel (associative scan); gru, the published cell, one position after another.",
                "As published: update=gru_per_head, with a state per head, keys and values averaged over platters, and a sigmoid "
                "gate of the query. With update=gru only the cell is the source's. differs: its linear update, a full matrix, is "
                "not offered.",
                "Always causal; there are no attention weights that model.dropout could drop.",
                "No neutral form: a recurrent state takes the place of vanilla attention.",
            ),
        ),
        Component(
            name="toroidal_adaptive",
            summary="Toroidal attention that learns its number of platters (Gumbel-softmax over candidate depths).",
            factory="lot_toroidal.attention.adaptive:AdaptiveAttention",
            config="lot_toroidal.config:AdaptiveConfig",
            reference=f"{PROJECT}; Jang et al., Categorical Reparameterization with Gumbel-Softmax, 2017",
            emits=frozenset({"attention", "depth_weights"}),
            watch=("depth_weights",),
            notes=(
                "While training all candidates run and are mixed; at evaluation the likeliest depth runs alone.",
                "differs: candidates share their projections here; in the source each has its own (16.7 thousand against 49.9 "
                "thousand parameters in the compared setting).",
                "route=true chooses a depth for every token from that token, which keeps the choice causal.",
                f"{NEUTRAL}, and no choice of a depth.",
            ),
        ),
    ]


@hookimpl
def lot_diagnostics() -> list[Component]:
    return [
        Component(
            name="toroidal_distance",
            summary="The distances on the torus, their profile over lags, and the mean distance over which heads attend.",
            factory="lot_toroidal.diagnostics.toroidal_distance:ToroidalDistance",
            reference=PROJECT,
            needs=frozenset({"attention"}),
        ),
        Component(
            name="fusion_rank",
            summary="Effective rank of the mixing of platters, by layer, over training.",
            factory="lot_toroidal.diagnostics.fusion_rank:FusionRank",
            reference="Roy and Vetterli, The effective rank, 2007",
            needs=frozenset({"platter_mixing"}),
        ),
        Component(
            name="orthogonality",
            summary="How well the encoding tells positions from platters: the two frequency bases and the angle between them.",
            factory="lot_toroidal.diagnostics.orthogonality:Orthogonality",
            reference=PROJECT,
        ),
        Component(
            name="shift_error",
            summary="Shift the input around the ring: how far the output is from the same shift of the first output.",
            factory="lot_toroidal.diagnostics.shift_error:ShiftError",
            config="lot_toroidal.config:ShiftErrorConfig",
            reference=f"{PROJECT}, Lemma 1",
        ),
        Component(
            name="circulant_error",
            summary="Error of toroidal_fft against dense attention with the same projections.",
            factory="lot_toroidal.diagnostics.circulant_error:CirculantError",
            reference=PROJECT,
        ),
        Component(
            name="depth_weights",
            summary="Weight of each candidate depth over training.",
            factory="lot_toroidal.diagnostics.depth_weights:DepthWeights",
            reference=PROJECT,
            needs=frozenset({"depth_weights"}),
        ),
        Component(
            name="torus_attention",
            summary="Attention drawn on the torus: platters as stacked rings, and as rows.",
            factory="lot_toroidal.diagnostics.torus_attention:TorusPicture",
            reference=PROJECT,
            needs=frozenset({"platter_attention"}),
        ),
    ]
