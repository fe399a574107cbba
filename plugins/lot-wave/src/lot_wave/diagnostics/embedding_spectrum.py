"""The spectrum of an embedding along positions: whether a token has peaks at f, 2f and 3f."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from lot import Context, Diagnostic, Probe, Record
from lot.figure import heading, literal, new_figure, pack, spaced, token_names, unpack
from lot_wave.config import EmbeddingSpectrumConfig
from lot_wave.wave_packet import WavePacket

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


FLOOR = 1e-3
"""A peak is at least this share of the strongest one (-30 dB), far above a Blackman window's side lobes (-58 dB)."""
CYCLES = 6
"""Fewer cycles than that over the whole signal are not told from a constant by a Blackman window."""
HARMONICS = 3
"""What counts as harmonic: peaks at f, 2f and 3f."""


PADDING = 4
"""Spectra are interpolated to that many bins for each one that the signal resolves."""


class Peaks(NamedTuple):
    """bins: peaks of a spectrum, interpolated between its bins. fundamental: the lowest one, 0 if there is none.

    harmonic: whether there are peaks at f, 2f and 3f.
    """

    bins: np.ndarray
    fundamental: float
    harmonic: bool


def power_spectrum(signal: Tensor) -> Tensor:
    """Power (PADDING T // 2 + 1,) of signal (T, D) by frequency, summed over D, its largest value set to 1.

    The mean is removed and a Blackman window applied. All zeros for a constant signal.
    """
    x = signal.double() - signal.double().mean(0)
    window = torch.blackman_window(len(x), periodic=True, dtype=x.dtype, device=x.device)
    power = torch.fft.rfft(x * window[:, None], PADDING * len(x), dim=0).abs().square().sum(-1)
    # Below this, what is left of a constant is rounding.
    silent = power.max() <= 1e-10 * signal.double().square().sum() * len(x)
    return torch.zeros_like(power) if silent else power / power.max()


def find_harmonics(power: np.ndarray) -> Peaks:
    """The peaks of a `power_spectrum`, found by `scipy.signal.find_peaks`."""
    from scipy.signal import find_peaks

    found, _ = find_peaks(power, height=FLOOR, prominence=FLOOR)
    if not len(found):
        return Peaks(np.zeros(0), 0.0, False)
    # A parabola through the logarithms of three bins; the peak of a smooth window is close to one.
    left, middle, right = (np.log(np.maximum(power[found + shift], 1e-30)) for shift in (-1, 0, 1))
    bins = found + 0.5 * (left - right) / (left - 2 * middle + right)
    f = float(bins[0])
    at = [np.abs(bins - n * f).min() <= PADDING * (0.5 + 0.1 * n) for n in range(1, HARMONICS + 1)]
    return Peaks(bins, f, bool(all(at)))


class EmbeddingSpectrum(Diagnostic):
    """One token at many positions, embedded and transformed: an embedding of waves shows peaks at f, 2f, 3f.

    A standard embedding gives the same vector at each position, and so no peak at all.
    """

    headline = "harmonic"

    def __init__(self, config: EmbeddingSpectrumConfig) -> None:
        self.config = config

    def measure(self, probe: Probe) -> dict[str, Tensor]:
        """harmonic: () share of tokens with peaks at f, 2f and 3f.

        token (K,) ids, name (K, bytes), frequency (F,) radians per position, power (K, F) with largest value 1,
        fundamental (K,) as measured and stated (K,) as the embedding has it, in radians per position, 0 for none.
        """
        model = probe.model
        embedding, dims = model.embedding, model.dims
        length = 16 * dims.max_len if self.config.length is None else self.config.length
        length = max(64, length)
        # As published, the frequency of a token turns nothing along the positions: there is none to be found.
        turning = isinstance(embedding, WavePacket) and embedding.positional_frequency is None
        stated = cast(WavePacket, embedding).frequency.double().cpu() if turning else None
        tokens = spaced(_resolvable(stated, dims.vocab_size, length), self.config.tokens)
        ctx = Context(step=probe.ctx.step)
        bin_width = 2 * math.pi / (PADDING * length)  # radians per position
        powers, fundamentals, harmonic = [], [], []
        for token in tokens:
            ids = torch.full((1, length), token, device=probe.batch.inputs.device)
            power = power_spectrum(embedding(ids, ctx)[0][0].float().cpu())
            peaks = find_harmonics(power.numpy())
            powers.append(power.float())
            fundamentals.append(peaks.fundamental * bin_width)
            harmonic.append(peaks.harmonic)
        return {
            "harmonic": torch.tensor(harmonic).float().mean(),
            "token": torch.tensor(tokens),
            "name": pack(token_names(probe.task, tokens)),
            "frequency": torch.arange(len(powers[0])) * bin_width,
            "power": torch.stack(powers),
            "fundamental": torch.tensor(fundamentals),
            "stated": torch.zeros(len(tokens)) if stated is None else stated[tokens].float(),
        }

    def draw(self, records: list[Record]) -> Figure | None:
        """Spectra of four tokens of the last record, with their peaks and the multiples of their fundamental marked."""
        if not records:
            return None
        step, values = records[-1]
        shown = spaced(list(range(len(values["token"]))), 4)
        figure, axes = new_figure(2, 2, size=(10.0, 6.0), sharey=True)
        names = [literal(name) for name in unpack(values["name"])]
        for panel, row in zip(axes, shown, strict=False):
            self._spectrum(panel, values, row, names[row])
        for panel in axes[len(shown) :]:
            panel.set_visible(False)
        for panel in axes[::2]:
            panel.set_ylabel("power (dB)")
        for panel in axes[max(0, len(shown) - 2) : len(shown)]:
            panel.set_xlabel("frequency (radians per position)")
        heading(figure, f"Spectrum of the embedding along positions, step {step}")
        return figure

    def _spectrum(self, axes: Axes, values: dict[str, Tensor], row: int, name: str) -> None:
        frequency, power = values["frequency"].numpy(), values["power"][row].numpy()
        decibel = 10 * np.log10(np.maximum(power, 1e-6))
        axes.plot(frequency, decibel, color="#0072B2", lw=1.1)
        axes.axhline(10 * math.log10(FLOOR), color="#B0B0B0", lw=0.8, ls=(0, (4, 3)))
        peaks = find_harmonics(power)
        bin_width = float(frequency[1])
        verdict = "no peaks"
        if peaks.fundamental:
            f = peaks.fundamental * bin_width
            verdict = "harmonic" if peaks.harmonic else "not harmonic"
            right = min(math.pi, (max(HARMONICS, round(float(peaks.bins.max()) / peaks.fundamental)) + 0.75) * f)
            axes.set_xlim(0, right)
            for n in range(1, 1 + int(right / f)):
                axes.axvline(n * f, color="#D55E00", lw=0.8, ls=":", zorder=0)
                axes.annotate(
                    "f" if n == 1 else f"{n}f",
                    (n * f, 1.0),
                    xycoords=("data", "axes fraction"),
                    xytext=(3, -2),
                    textcoords="offset points",
                    va="top",
                    fontsize=8,
                    color="#A34700",
                )
            at = np.round(peaks.bins).astype(int)
            axes.plot(peaks.bins * bin_width, decibel[at], "o", ms=5, mfc="white", mec="#D55E00", mew=1.4)
        stated = float(values["stated"][row])
        told = f"“{name}”: {verdict}"
        if peaks.fundamental:
            told += f", f = {peaks.fundamental * bin_width:.4f}" + (f" (embedding: {stated:.4f})" if stated else "")
        axes.set_title(told, fontsize=10, fontweight="normal")
        axes.set_ylim(-60, 6)

    def verdict(self, records: list[Record]) -> str | None:
        """Whether the embedding is made of harmonics, from the last record."""
        if not records:
            return None
        values = records[-1].values
        share, n = float(values["harmonic"]), len(values["token"])
        told = f"{share:.0%} of {n} tokens have peaks at f, 2f and 3f (threshold {self.config.threshold:.0%})"
        if share >= self.config.threshold:
            return f"{told}: the embedding is made of harmonic waves"
        if not float(values["power"].max()):
            return f"{told}: the embedding does not depend on position; it has no waves"
        return f"{told}: the embedding varies with position, but not in harmonics"


def _resolvable(stated: Tensor | None, vocab_size: int, length: int) -> list[int]:
    """Tokens, from low to high frequency, that turn often enough to be told from a constant.

    All tokens where the embedding states no frequencies (None).
    """
    if stated is None:
        return list(range(vocab_size))
    order = torch.argsort(stated)
    fast = order[stated[order] * length >= CYCLES * 2 * math.pi]
    return (fast if len(fast) else order).tolist()
