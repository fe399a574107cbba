"""Attention maps: what each head of each layer attends to in one sequence, with its tokens along both axes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from lot.builtin.config import AttentionMapConfig
from lot.contracts import Diagnostic, Probe, Record
from lot.figure import SEQUENTIAL_MAP, heading, literal, new_figure, pack, spaced, token_names, unpack
from lot.nn.documents import with_documents

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWN_LAYERS, SHOWN_HEADS = 6, 8
"""Rows and columns of the picture, at most; the record has all."""
LABELED = 32
"""Tokens up to which each is named; of a longer sequence every second, third ... is."""


class AttentionMap(Diagnostic):
    """Attention weights (query x key) of one sequence, by layer and head. Works for every attention that gives its weights."""

    needs = frozenset({"attention"})

    def __init__(self, config: AttentionMapConfig) -> None:
        self.config = config
        self.examples = config.example + 1

    def measure(self, probe: Probe) -> dict[str, Tensor]:
        """map: (n, H, P, P) weights, row by query; layers: (n, 1) which layers; names: (P, bytes) the tokens.

        documents: (P,) the document of each token, where several share the row.
        """
        found = dict(sorted(probe.output.signals["attention"].items()))
        row = min(self.config.example, len(probe.batch.inputs) - 1)
        ids = probe.batch.inputs[row, : self.config.positions]
        P = len(ids)
        maps = torch.stack([weights[row, :, :P, :P].float() for weights in found.values()])
        segments = with_documents(probe.ctx).segments
        return {
            "layers": torch.tensor(list(found))[:, None],
            "map": maps,
            "names": pack(token_names(probe.task, ids.tolist())),
            **({} if segments is None else {"documents": segments[row, :P]}),
        }

    def draw(self, records: list[Record]) -> Figure | None:
        """A panel for each layer (down) and head (across) of the last record, all in one scale."""
        if not records:
            return None
        step, values = records[-1]
        maps, names = values["map"], unpack(values["names"])
        layers = spaced(list(range(len(maps))), SHOWN_LAYERS)
        heads = spaced(list(range(maps.shape[1])), SHOWN_HEADS)
        side = min(4.2, max(2.2, 0.17 * min(len(names), LABELED)))
        size = (side * len(heads) + 1.4, side * len(layers) + 0.7)
        figure, axes = new_figure(len(layers), len(heads), size=size)
        largest = float(maps.max()) or 1.0
        for place, panel in enumerate(axes):
            layer, head = layers[place // len(heads)], heads[place % len(heads)]
            weights = maps[layer, head].numpy()
            unseen = np.triu(np.ones_like(weights, dtype=bool), 1) if not maps.triu(1).any() else False
            image = panel.imshow(
                np.ma.masked_where(unseen, weights), cmap=SEQUENTIAL_MAP, vmin=0, vmax=largest, interpolation="nearest"
            )
            panel.grid(visible=False)
            panel.set_title(f"layer {int(values['layers'][layer])}, head {head}", fontsize=9)
            _label(panel, names, left=place % len(heads) == 0, below=place // len(heads) == len(layers) - 1)
        bar = figure.colorbar(image, ax=axes, aspect=30, pad=0.01)
        bar.set_label("attention weight")
        bar.outline.set_visible(False)
        heading(figure, f"Attention maps, step {step}")
        return figure

    def verdict(self, records: list[Record]) -> str | None:
        """Where a head attends to another token most, against a head that attends to all tokens alike."""
        if not records:
            return None
        values = records[-1].values
        names, maps = unpack(values["names"]), values["map"]
        P = len(names)
        documents = values.get("documents", torch.zeros(P))
        there = documents[:, None] == documents  # what an even weight is spread over
        seen = (there if maps.triu(1).any() else there.tril()).sum(-1)
        against_even = maps * (1 - torch.eye(P)) * seen[:, None]
        layer, head, query, key = (int(i) for i in np.unravel_index(int(against_even.argmax()), maps.shape))
        times = float(against_even[layer, head, query, key])
        return (
            f"strongest on another token: layer {int(values['layers'][layer])}, head {head}, from {names[query]!r} at {query} "
            f"to {names[key]!r} at {key}, weight {float(maps[layer, head, query, key]):.2f}, {times:.1f} times an even one"
        )


def _label(axes: Axes, names: list[str], *, left: bool, below: bool) -> None:
    """Tokens along the axes of a panel; the outer panels alone have them, so that the others stay readable."""
    every = -(-len(names) // LABELED)
    places = range(0, len(names), every)
    # A dollar sign would begin a formula.
    shown = [literal(name if len(name) <= 8 else f"{name[:7]}…") for name in names[::every]]
    axes.set_xticks(places, shown if below else [""] * len(shown), rotation=90, fontsize=7)
    axes.set_yticks(places, shown if left else [""] * len(shown), fontsize=7)
    if below:
        axes.set_xlabel("key (token)")
    if left:
        axes.set_ylabel("query (token)")
