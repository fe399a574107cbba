"""Toroidal distance: between all places, by lag, and the mean distance over which heads attend."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lot import Diagnostic, NoOptions, Probe, Record
from lot.figure import PALETTE, SEQUENTIAL_MAP, new_figure
from lot.nn import with_documents
from lot_toroidal.ops.torus import Torus, circular_distance, toroidal_distance

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class ToroidalDistance(Diagnostic):
    """Attention by circular distance, beside what even attention would give.

    The ring is that of the deepest stack in the model; a model without one is measured on a ring as long as its sequences.
    Where documents share rows, even attention too stays within the document of each token.
    """

    needs = frozenset({"attention"})
    headline = "reach"

    def __init__(self, config: NoOptions) -> None:
        pass

    def measure(self, probe: Probe) -> dict[str, Tensor]:
        """reach: () mean distance attended to, as a share of the ring; even: () the same for even attention.

        reach_head (L, H), layer (L,); mass (L, N // 2 + 1) and mass_even (N // 2 + 1,): attention by distance, summing
        to 1; ring (3,): period, depth, lambda.
        """
        signals: dict[int, Tensor] = probe.output.signals["attention"]
        T = next(iter(signals.values())).shape[-1]
        torus = _torus(probe, T)
        position = torch.arange(T, device=probe.batch.inputs.device)
        distance = circular_distance(position[:, None] - position, torus.period)  # (T, T)
        even, share = _even(torus.visible(position - position[:, None]), with_documents(probe.ctx).segments)
        masses, reaches = [], []
        for weights in signals.values():
            mean = weights.double().mean(0) / share  # (H, T, T)
            masses.append(_by_distance(mean.mean(0), distance, torus.period))
            reaches.append((mean * distance).sum(-1).mean(-1) / torus.period)
        return {
            "reach": torch.stack(reaches).mean().float(),
            "even": ((even * distance).sum(-1).mean() / torus.period).float(),
            "reach_head": torch.stack(reaches).float(),
            "layer": torch.tensor(list(signals)),
            "mass": torch.stack(masses).float(),
            "mass_even": _by_distance(even, distance, torus.period).float(),
            "ring": torch.tensor([torus.period, torus.depth, torus.strength]),
        }

    def draw(self, records: list[Record]) -> Figure | None:
        """The map from every position to every other, the profile by lag and platter, and attention by distance."""
        if not records:
            return None
        last = records[-1]
        figure, (chart, profile, looks) = new_figure(1, 3, size=(13.5, 3.9), width_ratios=(1.1, 1, 1.1))
        N, D = (int(size) for size in last.values["ring"][:2])
        _draw_map(chart, N, D)
        _draw_profile(profile, N, D)
        self._draw_mass(looks, last)
        return figure

    def _draw_mass(self, axes: Axes, record: Record) -> None:
        values = record.values
        even = values["mass_even"]
        near = even > 0
        steps = torch.arange(len(even))[near]
        axes.fill_between(steps, even[near], color="#DDDDDD", lw=0, label="even attention", step="mid")
        for row, layer in enumerate(values["layer"].tolist()):
            axes.plot(steps, values["mass"][row][near], color=PALETTE[row % len(PALETTE)], label=f"layer {layer}")
        axes.set(title=f"Where attention looks, step {record.step}", xlabel="distance around the ring (positions)")
        axes.set(ylabel="share of attention", yscale="log", xlim=(0, int(steps.max())))
        axes.legend()

    def verdict(self, records: list[Record]) -> str | None:
        """Mean distance attended to, against even attention."""
        if not records:
            return None
        reach, even = float(records[-1].values["reach"]), float(records[-1].values["even"])
        if even == 0:
            return "every position sees itself only"
        how = "no nearer than" if reach > 0.95 * even else "nearer than" if reach > 0.5 * even else "much nearer than"
        return f"attention looks {reach:.3f} of the ring away on average: {how} even attention ({even:.3f})"


def _torus(probe: Probe, T: int) -> Torus:
    found = [torus for module in probe.model.modules() if isinstance(torus := getattr(module, "torus", None), Torus)]
    return max(found, key=lambda torus: torus.depth, default=Torus(T, 1, causal=probe.task.causal))


def _even(visible: Tensor, segments: Tensor | None) -> tuple[Tensor, Tensor | float]:
    """Weights (T, T) of even attention, as a mean over sequences, and the share of the places that hold a token.

    visible: (T, T) bool, by query and key. segments: (B, T) int64, -1 at padding, where documents share rows.
    """
    if segments is None:
        even = visible.double()
        return even / even.sum(-1, keepdim=True), 1.0
    there = segments >= 0
    even = (visible & (segments[:, :, None] == segments[:, None]) & there[:, None]).double()  # (B, T, T)
    share = there.double().mean()
    return (even / even.sum(-1, keepdim=True).clamp(min=1)).mean(0) / share, share


def _by_distance(weights: Tensor, distance: Tensor, period: int) -> Tensor:
    """weights (T, T), rows summing to 1, as the mean share at each distance: (N // 2 + 1,)."""
    share = torch.zeros(period // 2 + 1, dtype=weights.dtype, device=weights.device)
    return share.index_add_(0, distance.flatten(), weights.flatten()) / weights.shape[0]


def _draw_map(axes: Axes, period: int, depth: int) -> None:
    """delta from every place to every other, platter by platter: blocks of positions against positions."""
    position = torch.arange(0, period, max(1, period // 96))
    i, k = position.repeat(depth), torch.arange(depth).repeat_interleave(len(position))
    delta = toroidal_distance(i[:, None], k[:, None], i, k, period, depth)
    image = axes.imshow(delta, cmap=SEQUENTIAL_MAP, extent=(0, depth, depth, 0), interpolation="nearest")
    axes.grid(False)
    for border in range(1, depth):
        axes.axhline(border, color="white", lw=0.8)
        axes.axvline(border, color="white", lw=0.8)
    what = "platter and position"
    if depth == 1:
        image.set_extent((-0.5, period - 0.5, period - 0.5, -0.5))
        what = "position"
    else:
        middles = [platter + 0.5 for platter in range(depth)]
        axes.set(xticks=middles, yticks=middles, xticklabels=range(depth), yticklabels=range(depth))
    axes.set(title=f"Distance on a ring of {period}", xlabel=f"{what} of the key", ylabel=f"{what} of the query")
    assert axes.figure is not None
    axes.figure.colorbar(image, ax=axes, label=r"distance $\delta$", shrink=0.9)


def _draw_profile(axes: Axes, period: int, depth: int) -> None:
    lag = torch.arange(period)
    zero = torch.zeros_like(lag)
    for apart in range(min(depth, len(PALETTE))):
        delta = toroidal_distance(lag, zero, zero, zero + apart, period, depth)
        axes.plot(lag, delta, color=PALETTE[apart], label=f"{apart} apart")
    axes.set(title="Profile over lags", xlabel="lag (positions)", ylabel=r"distance $\delta$", xlim=(0, period))
    axes.set_ylim(0, 1.4 * (0.5 + (min(depth, len(PALETTE)) - 1) / depth))  # room for the legend
    axes.legend(title="platters", fontsize=8, title_fontsize=8, ncols=2, loc="upper center")
