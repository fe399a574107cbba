"""Attention weights as an interference pattern: contrast, and fringes that repeat with distance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from lot import Diagnostic, Probe, Record
from lot.figure import DIVERGING_MAP, heading, new_figure
from lot.nn import with_documents
from lot_wave.config import InterferenceMapConfig, fits_layer

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


CHANCE = 0.95
"""Quantile of the strengths of shuffled profiles that counts as the level of chance."""
SHOWN_HEADS = 4


def relative_weights(weights: Tensor, positions: Tensor | None = None) -> Tensor:
    """Weights (B, H, T, T) over the mean of their row, keys from 0 to the query: 1 is what even attention gives.

    positions: (B, T) int64 of the tokens in their documents, beyond which no weight reaches; or None, where a row is one.
    """
    T = weights.shape[-1]
    if positions is None:
        count = torch.arange(1, T + 1, device=weights.device, dtype=weights.dtype)[:, None]
    else:
        count = 1.0 + positions[:, None, :, None]
    mean = weights.tril().sum(-1, keepdim=True) / count
    return weights.tril() / torch.where(mean > 0, mean, 1.0)


def distance_profile(relative: Tensor, positions: Tensor | None = None) -> Tensor:
    """Mean over B and queries of `relative_weights` (B, H, T, T) by distance 1 .. n, (H, n), n = max(1, T // 2 - 1).

    Only queries of the second half count, so that each has a key at every distance. A token's weight on itself is left
    out: its waves are in phase with themselves whatever they are. positions: as of `relative_weights`; T is then that of
    the longest document.
    """
    if positions is not None:
        return _profile_in_documents(relative, positions)
    T = relative.shape[-1]
    n = max(1, T // 2 - 1)
    profile = [relative.diagonal(-distance, -2, -1)[..., -(T - n) :].mean((0, -1)) for distance in range(1, n + 1)]
    return torch.stack(profile, dim=-1) if T > 1 else relative[..., 0].mean(0)


def _profile_in_documents(relative: Tensor, positions: Tensor) -> Tensor:
    n = max(1, (int(positions.max()) + 1) // 2 - 1)
    profile = []
    for distance in range(1, n + 1):
        far = positions[:, None, distance:] >= n  # (B, 1, queries)
        weights = torch.where(far, relative.diagonal(-distance, -2, -1), 0.0)
        profile.append(weights.sum((0, -1)) / far.sum().clamp(min=1))
    return torch.stack(profile, dim=-1)


def autocorrelation(profile: np.ndarray) -> np.ndarray:
    """Autocorrelation (..., n) of profiles (..., n) without their linear trend; 1 at distance 0, or all 0 if flat."""
    from scipy.signal import detrend

    n = profile.shape[-1]
    x = detrend(profile, axis=-1) if n > 1 else np.zeros_like(profile)
    spectrum = np.fft.rfft(x, 2 * n, axis=-1)
    found = np.fft.irfft(np.abs(spectrum) ** 2, 2 * n, axis=-1)[..., :n]
    flat = (x**2).sum(-1, keepdims=True) <= 1e-20 * np.maximum((profile**2).sum(-1, keepdims=True), 1e-300)
    return np.where(flat, 0.0, found / np.where(flat, 1.0, found[..., :1]))


def fringe(correlation: np.ndarray) -> tuple[float, int]:
    """Height and distance of the highest peak of an autocorrelation beside that at 0; (0, 0) if there is none."""
    from scipy.signal import find_peaks

    found, properties = find_peaks(correlation, height=0.0)
    if not len(found):
        return 0.0, 0
    best = int(np.argmax(properties["peak_heights"]))
    return float(properties["peak_heights"][best]), int(found[best])


class InterferenceMap(Diagnostic):
    """Weights of one layer by head, and whether they rise and fall regularly with distance.

    Works for every attention that gives its weights, in each document alone where several share rows. A fringe is a peak in the
    autocorrelation of the weight over distance that is higher than the highest peak of 95 % of the same profiles with their
    distances shuffled.
    """

    needs = frozenset({"attention"})
    headline = "fringes"

    def __init__(self, config: InterferenceMapConfig) -> None:
        self.config = config

    def measure(self, probe: Probe) -> dict[str, Tensor]:
        """fringes: () share of heads with a fringe. layer: () that was looked at.

        By head: strength, chance, period (tokens), visibility (max - min) / (max + min) of the profile, each (H,);
        profile and correlation (H, n) over distances 1 .. n; map (H, P, P), relative weights in the first sequence,
        NaN between two documents.
        """
        found: dict[int, Tensor] = probe.output.signals["attention"]
        layer = fits_layer(self.config.layer, len(probe.model.layers))
        if layer not in found:
            layer = max(found)
        P = min(found[layer].shape[-1], self.config.max_positions)
        ctx = with_documents(probe.ctx)
        positions = None if ctx.segments is None or ctx.positions is None else ctx.positions[:, :P]
        relative = relative_weights(found[layer][..., :P, :P].double(), positions)
        profile = distance_profile(relative, positions).cpu().numpy()  # (H, n)
        correlation = autocorrelation(profile)
        H, n = profile.shape
        shuffles = torch.rand(self.config.surrogates, n, generator=probe.generator).argsort(-1).numpy()
        strengths, chances, periods = [], [], []
        for head in range(H):
            strength, period = fringe(correlation[head])
            surrogate = autocorrelation(profile[head][shuffles])  # (surrogates, n)
            strengths.append(strength)
            periods.append(float(period))
            chances.append(float(np.quantile([fringe(row)[0] for row in surrogate], CHANCE)))
        shown = relative[0].float()
        if ctx.segments is not None:  # there is nothing between documents
            shown = shown.masked_fill(ctx.segments[0, :P, None] != ctx.segments[0, :P], torch.nan)
        top, bottom = profile.max(-1), profile.min(-1)
        strength_, chance_ = torch.tensor(strengths), torch.tensor(chances)
        return {
            "fringes": (strength_ > chance_).float().mean(),
            "layer": torch.tensor(layer),
            "strength": strength_,
            "chance": chance_,
            "period": torch.tensor(periods),
            "visibility": torch.from_numpy((top - bottom) / np.maximum(top + bottom, 1e-12)).float(),
            "profile": torch.from_numpy(profile).float(),
            "correlation": torch.from_numpy(correlation).float(),
            "map": shown,
        }

    def draw(self, records: list[Record]) -> Figure | None:
        """For up to four heads of the last record: weights in one sequence, and over distance with their fringes."""
        from matplotlib.colors import TwoSlopeNorm

        if not records:
            return None
        step, values = records[-1]
        heads = min(SHOWN_HEADS, len(values["map"]))
        figure, axes = new_figure(2, heads, size=(2.6 * heads + 1.2, 5.4), height_ratios=(1.2, 1.0))
        for head in range(heads):
            above, below = axes[head], axes[heads + head]
            weights = values["map"][head].numpy()
            seen = np.where(np.tri(len(weights), dtype=bool), weights, np.nan)
            image = above.imshow(
                seen, cmap=DIVERGING_MAP, norm=TwoSlopeNorm(1.0, 0.0, 2.0), aspect="auto", interpolation="nearest"
            )
            above.grid(False)
            above.set_title(f"Head {head}")
            above.set_xlabel("key position (tokens)")
            self._profile(below, values, head)
        axes[0].set_ylabel("query position (tokens)")
        axes[heads].set_ylabel("mean weight over row mean")
        # One scale, so that heads compare.
        shown = values["profile"][:heads]
        low, high = float(shown.min()), float(shown.max())
        margin = 0.06 * (high - low) or 0.1
        for panel in axes[heads:]:
            panel.set_ylim(low - margin, high + margin)
        bar = figure.colorbar(image, ax=axes[:heads], extend="max", pad=0.01, ticks=[0, 1, 2])
        bar.set_label("weight over the mean of its row", fontsize=9)
        heading(figure, f"Interference map, layer {int(values['layer'])}, step {step}")
        return figure

    @staticmethod
    def _profile(axes: Axes, values: dict[str, Tensor], head: int) -> None:
        profile = values["profile"][head].numpy()
        axes.plot(range(1, len(profile) + 1), profile, color="#0072B2", lw=1.3)
        strength, chance = float(values["strength"][head]), float(values["chance"][head])
        period = int(values["period"][head])
        if strength > chance:
            peak = 1 + int(profile[:period].argmax())
            for x in range(peak, len(profile) + 1, period):
                axes.axvline(x, color="#D55E00", lw=0.9, ls=":", zorder=1)
            told = f"period {period} ({strength:.2f} > {chance:.2f})"
        else:
            told = f"no fringes ({strength:.2f} ≤ {chance:.2f})"
        axes.set_title(told, fontsize=9, fontweight="normal")
        axes.margins(x=0.01)
        axes.set_xlabel("distance (tokens)")

    def verdict(self, records: list[Record]) -> str | None:
        """How many heads have fringes, and how much contrast."""
        if not records:
            return None
        values = records[-1].values
        share, H = float(values["fringes"]), len(values["strength"])
        best = int((values["strength"] - values["chance"]).argmax())
        told = (
            f"{round(share * H)} of {H} heads have fringes in layer {int(values['layer'])}; strongest, head {best}: "
            f"autocorrelation {float(values['strength'][best]):.2f} against {float(values['chance'][best]):.2f} by "
            f"chance (95 %)"
        )
        contrast = f"mean visibility {float(values['visibility'].mean()):.2f}"
        # As many heads as that, or more, are beyond a level of 5 % by chance with this probability.
        from scipy.stats import binom

        p = float(binom.sf(round(share * H) - 1, H, 1 - CHANCE))
        told = f"{told}; {contrast}; as many by chance: p = {p:.2g} (threshold {1 - CHANCE:.2g})"
        return (
            f"{told}: weights repeat with distance" if p < 1 - CHANCE else f"{told}: no regular pattern over distance"
        )
