"""The delimiter wave: what the phases of all heads do around a given token."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lot import Context, Diagnostic, Probe, Record
from lot.circular import circular_mean
from lot.figure import DIVERGING_MAP, apart, new_figure, spaced
from lot.nn import with_documents
from lot_lattice.config import DelimiterWaveConfig
from lot_lattice.diagnostics.drawing import MOST_LAYERS, head_map, layers_of, phase_bar, phase_map
from lot_lattice.ops.synchrony import by_layer

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class DelimiterWave(Diagnostic):
    """Phases and their speed, heads x positions, in a window around the first delimiter of each sequence.

    Where documents share rows, each is a sequence: no window reaches beyond its ends.
    """

    needs = frozenset({"phase"})

    def __init__(self, config: DelimiterWaveConfig) -> None:
        self.config = config

    def measure(self, probe: Probe) -> dict[str, Tensor]:
        """offset: (N,) tokens from the delimiter, N = 2 window + 1; by layer L: phase_L and speed_L (H, N).

        phase_L: of the first sequence that has a delimiter, radians; 0 beyond its ends, where `inside` (N,) is 0.
        speed_L: radians that the phase moves at a token, averaged over the `count` (N,) sequences that have one there.
        Oscillators of a head are averaged. Without a delimiter in the batch, `offset` is empty.
        """
        found = probe.batch.inputs == self.config.token
        rows, at, low, high = _delimiters(found, with_documents(probe.ctx))
        if not len(rows):
            return {"offset": torch.zeros(0, dtype=torch.int64)}
        window, T = self.config.window, found.shape[1]
        offset = torch.arange(-window, window + 1, device=at.device)
        position = at[:, None] + offset  # (B', N)
        inside, moved = (position >= low) & (position < high), (position > low) & (position < high)
        count = moved.sum(0)
        values = {"offset": offset, "inside": inside[0].int(), "count": count}
        for layer, theta in by_layer(probe.output, "phase").items():
            theta = theta[rows] if theta.dim() == 4 else theta[rows, ..., None]  # (B', H, T, O)
            # Steps are averaged over oscillators, not phases: a mean direction may jump where no oscillator does.
            step = torch.nn.functional.pad(theta.diff(dim=2).mean(-1), (1, 0))  # (B', H, T)
            index = position.clamp(0, T - 1)[:, None].expand(-1, theta.shape[1], -1)
            speed = torch.where(moved[:, None], step.gather(2, index), 0.0).sum(0) / count.clamp(min=1)
            phase = circular_mean(theta[0], dim=-1).gather(1, index[0])
            values[f"phase_{layer}"] = torch.where(inside[0], phase, 0.0)
            values[f"speed_{layer}"] = speed
        return values

    def draw(self, records: list[Record]) -> Figure | None:
        """The last record, a row per layer: phases in one sequence, and how mean speed departs from each head's own."""
        if not records or not len(records[-1].values["offset"]):
            return None
        step, values = records[-1]
        layers = spaced(layers_of(values, "phase"), MOST_LAYERS)
        # The window may reach beyond all sequences.
        seen = ((values["inside"] > 0) | (values["count"] > 0)).nonzero().flatten()
        values = {
            name: value[..., seen[0] : seen[-1] + 1] if value.shape[-1:] == values["offset"].shape else value
            for name, value in values.items()
        }
        ends = (float(values["offset"][0]), float(values["offset"][-1]))
        figure, panels = new_figure(len(layers), 2, size=(10.0, 2.1 * len(layers) + 1.2), sharex=True)
        left, right = panels[::2], panels[1::2]
        departures = []
        for layer in layers:
            speed = torch.where(values["count"] > 0, values[f"speed_{layer}"], math.nan)
            departures.append(speed - speed.nanmedian(dim=1, keepdim=True).values)
        largest = max(float(departure.nan_to_num().abs().max()) for departure in departures) or 1.0
        for axes, layer in zip(left, layers, strict=True):
            phase_map(axes, torch.where(values["inside"] > 0, values[f"phase_{layer}"], math.nan), x=ends)
            axes.set_title(
                f"Layer {layer}: phase in one sequence, step {step}" if axes is left[0] else f"Layer {layer}"
            )
            axes.set_ylabel("head")
        for axes, departure in zip(right, departures, strict=True):
            image = head_map(axes, departure, x=ends, cmap=DIVERGING_MAP, vmin=-largest, vmax=largest)
            if axes is right[0]:
                axes.set_title("Mean speed minus the head's median")
        for axes in panels:
            axes.axvline(0, color="black", lw=0.9, ls=(0, (3, 3)))
        for axes in (left[-1], right[-1]):
            axes.set_xlabel("position from the delimiter (tokens)")
        apart(figure)
        phase_bar(figure, left)
        bar = figure.colorbar(image, ax=right, shrink=0.8, aspect=24, pad=0.02)
        bar.set_label("radians per token")
        bar.outline.set_visible(False)
        return figure


def _delimiters(found: Tensor, ctx: Context) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of each sequence that has a delimiter: its row (S,), where in the row the first one is (S,), and where in it the
    sequence begins and ends (S, 1).

    found: (B, T) bool, True at delimiters.
    """
    if ctx.segments is None:
        rows = found.any(1).nonzero().flatten()
        none = torch.zeros_like(rows)[:, None]
        return rows, found[rows].int().argmax(1), none, none + found.shape[1]
    assert ctx.positions is not None, "documents have positions of their own"
    rows, at = (found & (ctx.segments >= 0)).nonzero().unbind(1)
    number = ctx.segments[rows, at]
    new = number != torch.cat((number.new_tensor([-1]), number[:-1]))  # numbers rise from token to token
    rows, at, number = rows[new], at[new], number[new]
    low = at - ctx.positions[rows, at]
    lengths = torch.bincount(ctx.segments[ctx.segments >= 0])
    return rows, at, low[:, None], (low + lengths[number])[:, None]
