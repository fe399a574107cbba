"""What this package registers, as data. Imports no torch, since every command reads it."""

from __future__ import annotations

from lot import Component, hookimpl

NO_NEUTRAL = "No neutral form: waves take the place of queries and keys, so that without them nothing is left."
PROJECT = "Wave-Native GPT (spectral_gpt)"
LINEAR = "Katharopoulos et al., Transformers are RNNs, 2020"


@hookimpl
def lot_attentions() -> list[Component]:
    return [
        Component(
            name="interference",
            summary="The weight of a pair of tokens is the intensity of the interference of their waves, in place of q . k.",
            factory="lot_wave.attention.interference:InterferenceAttention",
            config="lot_wave.config:InterferenceConfig",
            reference=PROJECT,
            emits=frozenset({"attention", "phase"}),
            notes=(
                "As published: evolution=pairwise, normalize=energy, bias=true. The row sums of energy weights grow with the "
                "number of keys, and the angle (w_q - w_k)(t_q - t_k) does not separate into a part of q and a part of"
                " k.",
                "evolution=evolved (the default) is another model: each wave runs on at its own frequency, p + w t, "
                "which separates. It depends on absolute positions; pairwise depends on distances only.",
                "With the waves of one token as query and key (own_keys=false, as in the formula) the intensity of a "
                "pair is symmetric, and largest for a token with itself.",
                "evolution=evolved with normalize=row never forms weights, so dropout on weights does not apply there.",
                "The source gives amplitude, frequency and phase a bias each: bias=true. With its biases at 0 outputs equal the "
                "source's to 2e-7; without them they differ by 4.8e-2, through the amplitude.",
                NO_NEUTRAL,
            ),
        ),
        Component(
            name="pure_wave",
            summary="A positive kernel of sine features of each token's waves: linear attention made of waves.",
            factory="lot_wave.attention.pure_wave:PureWaveAttention",
            config="lot_wave.config:PureWaveConfig",
            reference=f"{PROJECT}; {LINEAR}",
            emits=frozenset({"attention", "phase"}),
            notes=(
                "As published, the kernel is applied to scores in quadratic mode and to features in linear mode: two "
                "models under one name. Here kernel_on chooses the model, and features has a linear and a quadratic "
                "form that agree.",
                "kernel=exp with kernel_on=scores is softmax attention over sine features.",
                "kernel_on=features never forms weights, so dropout on weights does not apply there.",
                NO_NEUTRAL,
                "form=published normalizes the sines (L2 norm over waves, times W^(1/4)) and has no amplitude; its scores have "
                "a learned scale per head and are divided by the root of the number of keys. The default form differs from it "
                "by 3 to 6 % on features and by 56 to 87 % on scores.",
            ),
        ),
    ]


@hookimpl
def lot_embeddings() -> list[Component]:
    return [
        Component(
            name="wave_packet",
            summary="A token is a sum of harmonic waves: frequency by how common it is (Zipf mass), phases learned.",
            factory="lot_wave.wave_packet:WavePacket",
            config="lot_wave.config:WavePacketConfig",
            reference=f"{PROJECT}; Zipf, Human Behavior and the Principle of Least Effort, 1949",
            emits=frozenset({"harmonic_amplitude"}),
            notes=(
                "rank=token_id with frequency_scale=1.0 has the source's frequencies. A wave that turns fast gives the same "
                "token another vector at every position, and above pi radians per position it aliases. By default ranks "
                "are by frequency, and the wave of the lightest token turns once over max_len.",
                "form=published has the source's formula: a token's frequency is a constant phase that never multiplies the "
                "position, each wave has a learned positional frequency, and a LayerNorm comes last. Without it outputs differ "
                "by 1.96.",
                "The harmonic term of wave_coherence acts with learn_amplitudes=true only; published amplitudes were "
                "constants, and so was that term.",
                "It has no (V, D) weight that a tied head could share.",
            ),
        )
    ]


@hookimpl
def lot_optimizers() -> list[Component]:
    return [
        Component(
            name="wave_native",
            summary="Damped momentum on gradients that are projected onto the singular subspaces of their matrix.",
            factory="lot_wave.wave_native:wave_native",
            config="lot_wave.config:WaveNativeConfig",
            reference=PROJECT,
            notes=(
                "As published: rank=null, a thin SVD of every matrix at every step. For a square matrix of full rank "
                "its projection U U^T g V V^T is the identity, so there the published optimizer is plain momentum.",
                "rank=r keeps the top-r subspaces, which is a projection that acts; they are tracked by one step of "
                "subspace iteration every `refresh` steps in place of an SVD.",
                "By default embeddings, norms and vectors take plain damped momentum.",
                "With rank=null and weight_decay=0 parameters equal the source's to 8e-10. decay=l2 adds weight decay to the "
                "gradient of every parameter, as published, so that it runs through momentum, 10 times as strong at damping "
                "0.1; with decay=decoupled parameters differ by 0.58 after 200 steps. project=all projects tables too, as "
                "published. The source's scripts have coherence_weight=0.3, its signature 0.7.",
                "There is no second moment, so good learning rates are far above Adam's: tune it as a parameter of its"
                " own.",
            ),
        )
    ]


@hookimpl
def lot_losses() -> list[Component]:
    return [
        Component(
            name="wave_coherence",
            summary="Cross-entropy with phase lock, energy conservation and harmonic fidelity.",
            factory="lot_wave.wave_coherence:WaveCoherence",
            config="lot_wave.config:WaveCoherenceConfig",
            reference=PROJECT,
            needs=frozenset({"hidden", "harmonic_amplitude"}),
            replaces=frozenset({"cross_entropy"}),
            notes=(
                "Each term is reported by itself, already multiplied by its lambda.",
                "As published: variance=unbiased_angle over whole windows, and energy=absolute, the mean of |norm_b - norm_a| "
                "(0.830 where energy=relative, the default, gives 0.0092 in the compared setting). Both training scripts of "
                "the source leave out the outputs of the layers, so that its coherence terms are 0 there.",
                "A wrapped angle jumps at +-pi, so its variance is large for phases that agree there. variance=angle is 7/8 of "
                "the published one at window=8; circular (the default) is 1 - R.",
                "Harmonic fidelity is 0 where the embedding has no harmonics, and constant where its amplitudes are "
                "fixed.",
            ),
        )
    ]


@hookimpl
def lot_diagnostics() -> list[Component]:
    return [
        Component(
            name="embedding_spectrum",
            summary="Spectrum of a token's embedding along positions, with its harmonics marked.",
            factory="lot_wave.diagnostics.embedding_spectrum:EmbeddingSpectrum",
            config="lot_wave.config:EmbeddingSpectrumConfig",
            reference=PROJECT,
        ),
        Component(
            name="wave_packets",
            summary="Frequencies, phases, harmonics and wave packets of the embedding.",
            factory="lot_wave.diagnostics.wave_packets:WavePackets",
            reference=PROJECT,
        ),
        Component(
            name="interference_map",
            summary="Attention weights of each head, and whether they rise and fall regularly with distance (fringes).",
            factory="lot_wave.diagnostics.interference_map:InterferenceMap",
            config="lot_wave.config:InterferenceMapConfig",
            reference=PROJECT,
            needs=frozenset({"attention"}),
        ),
        Component(
            name="trajectory_stability",
            summary="Lyapunov exponent of the residual stream: whether small differences grow or shrink through the layers.",
            factory="lot_wave.diagnostics.trajectory_stability:TrajectoryStability",
            config="lot_wave.config:TrajectoryConfig",
            needs=frozenset({"hidden"}),
            reference="Benettin et al., Lyapunov characteristic exponents, Meccanica 15, 1980",
        ),
        Component(
            name="wave_inference",
            summary="The model at work on new tokens, token by token: weights, candidates, uncertainty; animated.",
            factory="lot_wave.diagnostics.wave_inference:WaveInference",
            config="lot_wave.config:WaveInferenceConfig",
            reference=PROJECT,
            every=500,
        ),
    ]
