"""The waves of the embedding: frequencies by rank, phases, harmonics, and the packets that they add up to."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lot import Diagnostic, NoOptions, Probe, Record
from lot.circular import chance_order, order_parameter, wrap
from lot.figure import PHASE_MAP, heading, literal, new_figure, pack, token_names, unpack
from lot_wave.ops.coherence import infidelity
from lot_wave.wave_packet import WavePacket

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


SHOWN_PHASES = 64
"""Tokens, by rank, whose phases are drawn."""
FAITHFUL = 0.05
"""Mean distance of amplitude shares from 1/n up to which a series counts as the natural one."""


class WavePackets(Diagnostic):
    """What a wave-packet embedding holds. Any other embedding has no waves, and that is what is measured and told."""

    def __init__(self, config: NoOptions) -> None:
        pass

    def measure(self, probe: Probe) -> dict[str, Tensor]:
        """waves: () W, 0 for an embedding without waves; then nothing else.

        infidelity () of amplitudes against 1/n; order () mean over tokens of R over a token's phases; frequency (V,)
        radians per position, by rank; share (3, N) 5 %, 50 % and 95 % quantiles of A_n / sum A; phase (<= 64, W) of the
        heaviest tokens; packet (3, T) and name (3, bytes) of the heaviest, the middle and the lightest token.
        Of the published form, positional_frequency (W,) radians per position too; there `frequency` counts turns.
        """
        model = probe.model
        embedding = model.embedding
        if not isinstance(embedding, WavePacket):
            return {"waves": torch.zeros(())}
        frequency = embedding.frequency.detach()
        ranked = torch.argsort(frequency)
        amplitude = embedding.amplitude().detach().float()
        shares = (amplitude / amplitude.sum(-1, keepdim=True)).flatten(0, 1)  # (V W, N)
        # Quantiles of a large table from evenly spaced rows: torch.quantile takes 2^24 numbers at most.
        shares = shares[:: max(1, len(shares) // 65536)]
        chosen = ranked[[0, len(ranked) // 2, -1]]
        length = model.dims.max_len
        ids = chosen[:, None].expand(3, length)
        packet = embedding.cosines(ids).sum(-1)
        shared = embedding.positional_frequency
        return {
            **({} if shared is None else {"positional_frequency": shared.detach().float()}),
            "waves": torch.tensor(float(embedding.phase.shape[1])),
            "infidelity": infidelity(amplitude),
            "order": order_parameter(embedding.phase.detach()).mean(),
            "frequency": frequency[ranked],
            "share": torch.quantile(shares, torch.tensor([0.05, 0.5, 0.95], device=shares.device), dim=0),
            "phase": embedding.phase.detach()[ranked[:SHOWN_PHASES]].float(),
            "packet": packet.float(),
            "name": pack(token_names(probe.task, chosen.tolist())),
        }

    def draw(self, records: list[Record]) -> Figure | None:
        """Four panels: frequencies, phases, harmonics, wave packets; None without waves."""
        if not records or not float(records[-1].values["waves"]):
            return None
        step, values = records[-1]
        figure, (frequencies, phases, harmonics, packets) = new_figure(2, 2, size=(10.0, 6.6))
        if "positional_frequency" in values:
            _shared_frequencies(frequencies, values["positional_frequency"])
        else:
            _frequencies(frequencies, values["frequency"])
        _phases(phases, values["phase"], figure)
        _harmonics(harmonics, values["share"])
        _packets(packets, values["packet"], [literal(name) for name in unpack(values["name"])])
        heading(figure, f"Wave-packet embedding, step {step}")
        return figure

    def verdict(self, records: list[Record]) -> str | None:
        """How natural the harmonics are and how aligned the phases, from the last record."""
        if not records:
            return None
        values = records[-1].values
        W = int(values["waves"])
        if not W:
            return "the embedding has no waves (choose embed.name=wave_packet)"
        distance, R = float(values["infidelity"]), float(values["order"])
        series = "the natural 1/n series" if distance <= FAITHFUL else "another series than 1/n"
        return (
            f"amplitude shares are {distance:.3f} from 1/n (threshold {FAITHFUL:g}): {series}; "
            f"a token's {W} phases have R = {R:.2f} (random ones give {chance_order(W):.2f})"
        )


def _frequencies(axes: Axes, frequency: Tensor) -> None:
    rank = torch.arange(1, len(frequency) + 1)
    axes.loglog(rank, frequency, "o", ms=3.5, color="#0072B2", label="tokens")
    law = frequency[0] * rank.double().sqrt()
    axes.loglog(rank, law, color="#D55E00", lw=1, zorder=0, label=r"$\omega \propto 1/\sqrt{mass}$")
    if float(frequency[-1]) > 0.5 * math.pi:
        axes.axhline(math.pi, color="#4D4D4D", lw=1, ls=(0, (4, 3)), label="aliasing above")
    axes.set_title("Frequencies")
    axes.set(xlabel="rank + 1 (1: the heaviest token)", ylabel="frequency (radians per position)")
    axes.legend()


def _shared_frequencies(axes: Axes, frequency: Tensor) -> None:
    axes.bar(torch.arange(len(frequency)), frequency, color="#0072B2")
    axes.axhline(0, color="#4D4D4D", lw=0.8)
    axes.set_title("Frequencies, shared by all tokens")
    axes.set(xlabel="wave", ylabel="frequency (radians per position)")


def _phases(axes: Axes, phase: Tensor, figure: Figure) -> None:
    image = axes.imshow(
        wrap(phase), cmap=PHASE_MAP, vmin=-math.pi, vmax=math.pi, aspect="auto", interpolation="nearest"
    )
    axes.grid(False)
    axes.set_title("Phases")
    axes.set(xlabel="wave", ylabel="token, by rank")
    bar = figure.colorbar(image, ax=axes, ticks=[-math.pi, 0, math.pi], pad=0.02)
    bar.ax.set_yticklabels(["$-\\pi$", "0", "$\\pi$"])
    bar.set_label("phase (radians)")


def _harmonics(axes: Axes, share: Tensor) -> None:
    N = share.shape[1]
    n = torch.arange(1, N + 1)
    low, middle, high = share
    series = 1 / n.double()
    error = torch.stack((middle - low, high - middle)).clamp(min=0)
    axes.bar(n, middle, width=0.55, color="#56B4E9", label="median")
    axes.errorbar(n, middle, yerr=error, fmt="none", color="#0B3C5D", capsize=4, lw=1.2, label="5 % to 95 %")
    axes.plot(n, series / series.sum(), "o", ms=6, mfc="none", mec="#D55E00", mew=1.5, label="natural series 1/n")
    axes.set_title("Harmonics")
    axes.set(xlabel="harmonic n", ylabel="share of the amplitude", xticks=n.tolist())
    axes.legend()


def _packets(axes: Axes, packet: Tensor, names: list[str]) -> None:
    for curve, name, kind in zip(packet, names, ("heaviest", "middle", "lightest"), strict=True):
        axes.plot(curve, lw=1.4, label=f"{kind}: “{name}”")
    axes.margins(x=0)
    low, high = float(packet.min()), float(packet.max())
    axes.set_title("Wave packets")
    axes.set(xlabel="position (tokens)", ylabel=r"$\Sigma\, A_n \cos n\theta$")
    axes.set_ylim(low - 0.05 * (high - low), high + 0.35 * (high - low))
    axes.legend(ncols=3, loc="upper center")
