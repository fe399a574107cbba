"""Which of the project's own distributions has which component: lets an unknown name answer with what to install."""

from __future__ import annotations

_COMPONENTS: dict[str, dict[str, str]] = {
    "lot-hf": {"model": "hf"},
    "lot-lattice": {
        "attention": "lattice phase hybrid",
        "kernel": "lattice",
        "loss": "sync diversity phase_regularization spatial_coherence coherence",
        "diagnostic": "order_parameter lattice_snapshot delimiter_wave coupling phase_snapshots",
    },
    "lot-tasks": {
        "task": "copy_reverse periodic sinusoidal hierarchical random mqar mqar_corrected in_context_recall "
        "in_context_recall_corrected noisy_recall noisy_recall_corrected fuzzy_recall fuzzy_recall_corrected "
        "selective_copying compression compression_corrected memorization char_lm bytes_lm word_lm text_lm "
        "text_stream",
    },
    "lot-toroidal": {
        "attention": "toroidal toroidal_ring toroidal_fft toroidal_latent toroidal_adaptive",
        "diagnostic": "toroidal_distance fusion_rank orthogonality shift_error circulant_error depth_weights "
        "torus_attention",
    },
    "lot-wave": {
        "attention": "interference pure_wave",
        "embedding": "wave_packet",
        "optimizer": "wave_native",
        "loss": "wave_coherence",
        "diagnostic": "embedding_spectrum wave_packets interference_map trajectory_stability wave_inference",
    },
}


_MOVED = {"lot-lattice:attention_entropy": "attention_entropy"}
"""Full names of components that are the core's own since a later version, so that older configurations stay readable."""


def current_name(name: str) -> str:
    """The name by which a component is found now."""
    return _MOVED.get(name, name)


def home_of(kind: str, name: str) -> str | None:
    """The distribution of ours that has the component `name` of this kind, installed or not; None for any other."""
    return first_party(kind).get(name)


def first_party(kind: str) -> dict[str, str]:
    """The distribution of each component of this kind that the project has outside the core."""
    return {name: distribution for distribution, kinds in _COMPONENTS.items() for name in kinds.get(kind, "").split()}
