"""What this package registers, as data. Imports no torch, since every command reads it."""

from __future__ import annotations

from lot import Component, hookimpl

LATTICE = "Lattice Oscillator Transformer (github.com/joshause/lot)"
PHASEGPT = "PhaseGPT (github.com/templetwo/PhaseGPT)"
KURAMOTO = "Kuramoto, Self-entrainment of a population of coupled non-linear oscillators, 1975"


@hookimpl
def lot_attentions() -> list[Component]:
    return [
        Component(
            name="lattice",
            summary="Heads are coupled oscillators on a lattice; tokens that are in phase attend to each other more.",
            factory="lot_lattice.attention.lattice:LatticeAttention",
            config="lot_lattice.config:LatticeConfig",
            reference=f"{LATTICE}; {KURAMOTO}",
            emits=frozenset({"phase", "coupling_force", "natural_frequency", "neighbor_weights", "attention"}),
            watch=("order_parameter",),
            notes=(
                "As published, the score gains alpha cos(theta_h), one number for all keys of a head: softmax cancels "
                "it, so that the mechanism has no effect. score=head keeps that form, for comparison only.",
                "Corrected (the default): the score gains alpha cos(theta(q) - theta(k)), phases belong to tokens and "
                "sequences, and gradients reach every parameter of the lattice.",
                "As published, training applied no causal mask: causal=false repeats that and needs allow_leak.",
                "score=head equals the source's module to 2e-16, gradients to 2e-15; so do the neighbor weights and the "
                "Kuramoto step.",
                "Neutral form: alpha = 0; the phases are then computed for signals only.",
            ),
        ),
        Component(
            name="phase",
            summary="Tokens are oscillators; the mean field of the earlier ones pulls each into phase. No queries, no keys.",
            factory="lot_lattice.attention.phase:PhaseAttention",
            config="lot_lattice.config:PhaseConfig",
            reference=f"{PHASEGPT}; {KURAMOTO}",
            emits=frozenset({"phase", "natural_frequency"}),
            watch=("order_parameter",),
            notes=(
                "As published, every token is coupled to all tokens, so that the future leaks into every prediction: "
                "causal=false repeats that and needs allow_leak. Corrected (the default): only to itself and earlier tokens.",
                "As published, the sign of the coupling is reversed, so that positive K drives phases apart: the published "
                "K is coupling=-K here. Corrected: positive coupling attracts.",
                "As published, the output reads the wrapped angle, which jumps at +-pi: readout=angle. Corrected: cos "
                "and sin.",
                "In these three options outputs equal the source's module to 2e-15, gradients to 2e-14. Its script averages "
                "angles over 12 heads before it takes R: random phases give 0.876 that way, and its R = 0.88 is that "
                "artifact. Per head they give 0.157.",
                "No neutral form: it replaces vanilla attention, and adds nothing to it.",
            ),
        ),
        Component(
            name="hybrid",
            summary="A weighted sum of any attention and phase attention: (1 - a) inner + a phase.",
            factory="lot_lattice.attention.hybrid:HybridAttention",
            config="lot_lattice.config:HybridConfig",
            reference=PHASEGPT,
            emits=frozenset({"phase", "natural_frequency", "attention"}),
            watch=("order_parameter",),
            notes=(
                "As published, the inner attention has no causal mask: inner={name: vanilla, causal: false}.",
                "Neutral form: a = 0, where the inner attention has a neutral form (vanilla is one).",
            ),
        ),
    ]


@hookimpl
def lot_losses() -> list[Component]:
    return [
        Component(
            name="sync",
            summary="1 - R: pulls the phases at each token together.",
            factory="lot_lattice.losses:Sync",
            reference=LATTICE,
            needs=frozenset({"phase"}),
            weight=0.02,
        ),
        Component(
            name="diversity",
            summary="exp(-variance of the natural frequencies): pushes these frequencies apart.",
            factory="lot_lattice.losses:Diversity",
            reference=LATTICE,
            needs=frozenset({"natural_frequency"}),
            weight=0.01,
            notes=(
                "differs: the source takes the unbiased variance over the frequencies of all layers at once; here it is the "
                "plain variance of each layer, and the mean of the term over layers.",
            ),
        ),
        Component(
            name="phase_regularization",
            summary="(R - target)^2 at every token: pulls each token to that order parameter.",
            factory="lot_lattice.losses:PhaseRegularization",
            config="lot_lattice.config:PhaseRegularizationConfig",
            reference=LATTICE,
            needs=frozenset({"phase"}),
            weight=0.1,
            notes=(
                "differs: the first LOT, which is named as the source, had (1 - R) + exp(-variance of the natural "
                "frequencies); sync and diversity together have these two terms.",
            ),
        ),
        Component(
            name="spatial_coherence",
            summary="1 - cos(theta_i - theta_j) over neighbors on the lattice: smooths the phases from site to site.",
            factory="lot_lattice.losses:SpatialCoherence",
            reference=LATTICE,
            needs=frozenset({"phase", "neighbor_weights"}),
            weight=0.01,
            notes=(
                "differs: the first LOT, which is named as the source, had the sum over neighbors of (kappa_i - kappa_j)^2, "
                "so it smoothed the coupling strengths and not the phases.",
            ),
        ),
        Component(
            name="coherence",
            summary="Keeps the mean R below a ceiling, at a target, or within a band.",
            factory="lot_lattice.losses:Coherence",
            config="lot_lattice.config:CoherenceConfig",
            reference=PHASEGPT,
            needs=frozenset({"phase"}),
            weight=0.1,
        ),
    ]


@hookimpl
def lot_diagnostics() -> list[Component]:
    return [
        Component(
            name="order_parameter",
            summary="Order parameter R of each layer, over training and over positions, beside the level of random phases.",
            factory="lot_lattice.diagnostics.order_parameter:OrderParameter",
            config="lot_lattice.config:OrderParameterConfig",
            reference=KURAMOTO,
            needs=frozenset({"phase"}),
        ),
        Component(
            name="lattice_snapshot",
            summary="Phases of the heads as arrows on their lattice, at some tokens of a sequence.",
            factory="lot_lattice.diagnostics.lattice_snapshot:LatticeSnapshot",
            config="lot_lattice.config:LatticeSnapshotConfig",
            reference=LATTICE,
            needs=frozenset({"phase", "neighbor_weights"}),
        ),
        Component(
            name="delimiter_wave",
            summary="Phases of the heads and how fast they turn, at the positions around a delimiter.",
            factory="lot_lattice.diagnostics.delimiter_wave:DelimiterWave",
            config="lot_lattice.config:DelimiterWaveConfig",
            reference=LATTICE,
            needs=frozenset({"phase"}),
        ),
        Component(
            name="coupling",
            summary="Coupling force on each head at each position, and how close in phase neighbors are.",
            factory="lot_lattice.diagnostics.coupling:Coupling",
            reference=LATTICE,
            needs=frozenset({"phase", "coupling_force", "neighbor_weights"}),
        ),
        Component(
            name="phase_snapshots",
            summary="All phases of one sequence at steps of training: drawn, and animated token by token.",
            factory="lot_lattice.diagnostics.phase_snapshots:PhaseSnapshots",
            reference=LATTICE,
            needs=frozenset({"phase"}),
            every=500,
        ),
    ]


@hookimpl
def lot_kernels() -> list[Component]:
    return [
        Component(
            name="lattice",
            summary="Lattice scan and mean field in C++ and CUDA, forward and backward.",
            factory="lot_lattice.kernels.component:LatticeKernels",
            reference=KURAMOTO,
        )
    ]
