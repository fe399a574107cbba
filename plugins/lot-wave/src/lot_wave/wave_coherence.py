"""Wave coherence: cross-entropy with three regularizers of the hidden states and the embedding."""

from __future__ import annotations

import torch
from torch import Tensor

from lot import Batch, Context, CrossEntropy, Loss, Output
from lot.nn import Documents
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
            hidden: Tensor = output.signals["hidden"]
            locks = [
                config.lambda_phase
                * phase_variance(part.movedim(2, 0), config.window, config.variance, padding)
                * self._windows(part[..., 0, 0], padding)
                for part, padding in _texts(hidden.movedim(0, 2), batch)
            ]
            terms["phase_lock"] = torch.stack(locks).sum()
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
            "phase_lock": torch.stack([self._windows(*text) for text in _texts(batch.inputs, batch)]).sum(),
            "energy": batch.tokens(),
            "harmonic": batch.targets.new_ones(()),
        }

    def _windows(self, x: Tensor, padding: Tensor | None) -> Tensor:
        return window_count(x, self.config.window, self.config.variance, padding)


def _texts(x: Tensor, batch: Batch) -> list[tuple[Tensor, Tensor | None]]:
    """x (B, T, ...) and its padding; by document where several share a row, since no window reaches from one to another."""
    if batch.segments is None:
        return [(x, batch.padding)]
    return Documents(batch.segments, batch.padding, x.device).split(x)
