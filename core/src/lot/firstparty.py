"""Which of the project's own distributions has which component: lets an unknown name answer with what to install."""

from __future__ import annotations

FIRST_PARTY: dict[str, dict[str, str]] = {
    "attention": {
        **dict.fromkeys(("lattice", "phase", "hybrid"), "lot-lattice"),
        **dict.fromkeys(
            ("toroidal", "toroidal_ring", "toroidal_fft", "toroidal_latent", "toroidal_adaptive"), "lot-toroidal"
        ),
        **dict.fromkeys(("interference", "pure_wave"), "lot-wave"),
    },
    "embedding": {"wave_packet": "lot-wave"},
    "optimizer": {"wave_native": "lot-wave"},
    "loss": {
        **dict.fromkeys(("sync", "diversity", "phase_regularization", "spatial_coherence", "coherence"), "lot-lattice"),
        "wave_coherence": "lot-wave",
    },
    "task": dict.fromkeys(
        (
            "copy_reverse",
            "periodic",
            "hierarchical",
            "random",
            "sinusoidal",
            "char_lm",
            "bytes_lm",
            "word_lm",
            "mqar",
            "in_context_recall",
            "fuzzy_recall",
            "noisy_recall",
            "selective_copying",
            "compression",
            "memorization",
        ),
        "lot-tasks",
    ),
    "diagnostic": {"order_parameter": "lot-lattice", "phase_snapshots": "lot-lattice"},
    "kernel": {},
}
"""Kind -> component name -> distribution. The core's own components are always there and need no entry."""
