"""Wave coherence: cross-entropy with three regularizers of the hidden states and the embedding."""

from __future__ import annotations

from torch import Tensor

from lot import Batch, Context, CrossEntropy, Loss, Output
from lot_wave.config import WaveCoherenceConfig
from lot_wave.ops.coherence import infidelity, norm_drift, phase_variance, window_count


class WaveCoherence(Loss):
    """Cross-entropy and three regularizers, phase lock, energy conservation and harmonic fidelity, each a term.

    needs: `hidden`, unless both of its weights are 0. optional: `harmonic_amplitude`; without it that term is 0.
    """

    def __init__(self, config: WaveCoherenceConfig) -> None:
        self.config = config
        self.cross_entropy = CrossEntropy()
        self.needs = frozenset({"hidden"} if config.lambda_phase or config.lambda_energy else ())
        self.optional = frozenset({"harmonic_amplitude"} if config.lambda_harmonic else ())

    def __call__(self, output: Output, batch: Batch, ctx: Context) -> dict[str, Tensor]:
        """`cross_entropy` and each of `phase_lock`, `energy` and `harmonic` whose weight is not 0, weighted."""
        config = self.config
        terms = self.cross_entropy(output, batch, ctx)
        zero = terms["cross_entropy"].new_zeros(())
        if config.lambda_phase:
            lock = phase_variance(output.signals["hidden"], config.window, config.variance, batch.padding)
            terms["phase_lock"] = config.lambda_phase * lock * self._windows(batch)
        if config.lambda_energy:
            drift = norm_drift(output.signals["hidden"], batch.padding, config.energy)
            terms["energy"] = config.lambda_energy * drift * batch.tokens()
        if config.lambda_harmonic:
            amplitude = output.signals.get("harmonic_amplitude")
            terms["harmonic"] = zero if amplitude is None else config.lambda_harmonic * infidelity(amplitude)
        return terms

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        """Windows of positions, tokens, and one per part of a batch for what depends on parameters alone."""
        return {
            "phase_lock": self._windows(batch),
            "energy": batch.tokens(),
            "harmonic": batch.targets.new_ones(()),
        }

    def _windows(self, batch: Batch) -> Tensor:
        return window_count(batch.inputs, self.config.window, self.config.variance, batch.padding)
