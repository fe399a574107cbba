"""Attention entropy: how widely each head spreads its attention."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lot.contracts import Diagnostic, Probe, Record
from lot.figure import PALETTE, SEQUENTIAL_MAP, apart, new_figure, over_training
from lot.options.declare import NoOptions

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class AttentionEntropy(Diagnostic):
    """Entropy of the attention weights, over that of even weights.

    It is 0 where a head attends to one token, and 1 where it attends to all of them alike.
    """

    needs = frozenset({"attention"})
    examples = 8  # their T x T weights are held at once

    def __init__(self, config: NoOptions) -> None:
        pass

    def measure(self, probe: Probe) -> dict[str, Tensor]:
        """entropy: () mean; layers: (n, 1) which layers; heads: (n, H) means over queries that see two keys or more."""
        rows = []
        layers = dict(sorted(probe.output.signals["attention"].items()))
        for weights in layers.values():
            rows.append(torch.stack([self._of_head(weights[:, h], probe) for h in range(weights.shape[1])]))
        heads = torch.stack(rows)
        return {"entropy": heads.mean(), "layers": torch.tensor(list(layers))[:, None], "heads": heads}

    def _of_head(self, weights: Tensor, probe: Probe) -> Tensor:
        """() of one head's weights (B, T, T)."""
        weights = weights.float().clamp(min=0)
        # Not every mechanism has rows that sum to 1.
        weights = weights / weights.sum(-1, keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny)
        T = weights.shape[-1]
        if T == 1:
            return weights.new_zeros(())
        entropy = torch.special.entr(weights).sum(-1)  # (B, T) nats
        causal = not weights.triu(1).any()
        if probe.ctx.segments is not None:
            return _mean_in_documents(entropy, probe.ctx.segments, causal)
        seen = torch.arange(1, T + 1, device=weights.device) if causal else torch.full((T,), T, device=weights.device)
        share = entropy[:, seen > 1] / seen[seen > 1].log()
        if probe.batch.padding is None:
            return share.mean()  # type: ignore[no-any-return]
        kept = ~probe.batch.padding[:, seen > 1]
        total: Tensor = torch.where(kept, share, 0.0).sum() / kept.sum().clamp(min=1)
        return total

    def draw(self, records: list[Record]) -> Figure | None:
        """Layers x heads at the last record, and each layer's mean over training, with the range of its heads."""
        if not records:
            return None
        step, values = records[-1]
        layers, heads = values["layers"].flatten().tolist(), values["heads"]
        n, H = heads.shape
        figure, (table, training) = new_figure(1, 2, size=(11.0, max(3.2, 0.32 * n + 1.6)), width_ratios=(1.0, 1.2))
        image = table.imshow(heads.numpy(), aspect="auto", cmap=SEQUENTIAL_MAP, vmin=0, vmax=1, interpolation="nearest")
        table.grid(visible=False)
        table.set_xticks(range(H) if H <= 16 else range(0, H, 4))
        table.set_yticks(range(n), [str(layer) for layer in layers])
        table.set(xlabel="head", ylabel="layer")
        if n * H <= 144:
            for i in range(n):
                for j in range(H):
                    value = float(heads[i, j])
                    table.text(
                        j,
                        i,
                        f"{value:.2f}".lstrip("0") if value < 1 else "1",
                        ha="center",
                        va="center",
                        fontsize=8,
                        color="white" if value < 0.6 else "black",
                    )
        table.set_title(f"Entropy of each head, step {step}")
        bar = figure.colorbar(image, ax=table, aspect=24, pad=0.02)
        bar.set_label("entropy over that of even weights")
        bar.outline.set_visible(False)
        steps = [record.step for record in records]
        dots = over_training(training, steps)
        curves = torch.stack([record.values["heads"] for record in records])  # (records, n, H)
        for index, layer in enumerate(layers):
            color, style = PALETTE[index % len(PALETTE)], ("-", "--", ":")[index // len(PALETTE) % 3]
            training.plot(
                steps,
                curves[:, index].mean(-1),
                color=color,
                ls=style,
                label=f"layer {layer}",
                **dots,
            )
            if n <= 3:
                training.fill_between(
                    steps, curves[:, index].amin(-1), curves[:, index].amax(-1), color=color, alpha=0.13, lw=0
                )
        training.set(ylabel="entropy over that of even weights", ylim=(0, 1.02))
        training.set_title("Mean over heads" + (" (shaded: range of heads)" if n <= 3 else ""))
        apart(figure)
        training.legend(ncols=max(1, n // 4))
        return figure


def _mean_in_documents(entropy: Tensor, segments: Tensor, causal: bool) -> Tensor:
    """() mean of entropy (B, T) over that of even weights within the document of each query, padding left out."""
    there = (segments[:, :, None] == segments[:, None]) & (segments >= 0)[:, None]
    seen = (there.tril() if causal else there).sum(-1)  # (B, T)
    kept = (seen > 1) & (segments >= 0)
    share = torch.where(kept, entropy / seen.clamp(min=2).log(), 0.0)
    return share.sum() / kept.sum().clamp(min=1)
