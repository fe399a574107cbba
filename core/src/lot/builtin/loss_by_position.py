"""Loss by position: whether a model makes use of what lies far back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from lot.contracts import IGNORED, Context, Diagnostic, Probe, Record
from lot.figure import PALETTE, new_figure, over_training
from lot.nn.documents import with_documents
from lot.options.declare import NoOptions

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BINS = 32
"""Positions are put together into this many bins, at most."""


class LossByPosition(Diagnostic):
    """Cross-entropy of the scored targets, in nats, by their position in the sequence.

    Where documents that share a row are told apart, each is a sequence: its positions count from its own start, and late ones
    are of long documents alone.

    A model that draws on its context predicts better late than early. Where the loss stays level from some position on, more
    context than that is of no use to it.
    """

    def __init__(self, config: NoOptions) -> None:
        pass

    def measure(self, probe: Probe) -> dict[str, Tensor]:
        """early, late: () means over the first and the second half of the positions that have a scored target; gain: () the
        difference; gain_error: () its standard error over sequences.

        ends: (n,) one past the last position of each bin. loss, error: (n,) the mean of each bin and its standard error.
        NaN where nothing is scored; an error is NaN with fewer than two sequences. Single numbers that would be NaN are left out.
        """
        targets = probe.batch.targets
        nats = F.cross_entropy(
            probe.output.logits.float().transpose(1, 2), targets, ignore_index=IGNORED, reduction="none"
        )
        nats, scored = nats.double().cpu(), (targets != IGNORED).double().cpu()  # (B, T)
        sequence, position = _places(probe.ctx, targets)
        T = int(position.max()) + 1
        n = min(BINS, T)
        ends = torch.tensor([T * (i + 1) // n for i in range(n)])
        loss, errors = _means(nats, scored, sequence, torch.bucketize(position, ends, right=True), n)
        values = {"ends": ends, "loss": loss.float(), "error": _standard_error(errors).float()}
        asked = torch.bincount(position[scored > 0]).nonzero().flatten()  # positions
        if len(asked) > 1:
            halves, errors = _means(nats, scored, sequence, (position >= asked[len(asked) // 2]).long(), 2)
            values |= {"early": halves[0], "late": halves[1], "gain": halves[0] - halves[1]}
            if len(errors) > 1:
                values["gain_error"] = _standard_error(errors[:, :1] - errors[:, 1:])[0]
        return values

    def draw(self, records: list[Record]) -> Figure | None:
        """The loss of each bin at the last record, and both halves over training."""
        if not records:
            return None
        step, values = records[-1]
        figure, (place, training) = new_figure(1, 2)
        starts = torch.cat((torch.zeros(1, dtype=torch.int64), values["ends"][:-1]))
        middles = (starts + values["ends"] - 1) / 2
        loss, error = values["loss"], values["error"].nan_to_num()
        place.plot(middles, loss, color=PALETTE[0], marker="o", ms=3)
        place.fill_between(middles, loss - error, loss + error, color=PALETTE[0], alpha=0.15, lw=0)
        place.set(xlabel="position of the token", ylabel="loss (nats)")
        place.set_title(f"Loss by position, step {step}")
        halves = [(record.step, record.values) for record in records if "late" in record.values]
        steps = [at for at, _ in halves]
        dots = over_training(training, steps)
        for name, color, style in (("early", PALETTE[1], "--"), ("late", PALETTE[0], "-")):
            training.plot(
                steps, [float(found[name]) for _, found in halves], style, color=color, label=f"{name} half", **dots
            )
        training.set(ylabel="loss (nats)")
        training.set_title("Halves of the sequence")
        if halves:
            training.legend()
        return figure

    def verdict(self, records: list[Record]) -> str | None:
        """The difference of the halves, with its standard error over sequences."""
        if not records or "gain_error" not in records[-1].values:
            return None
        found = {name: float(value) for name, value in records[-1].scalars.items()}
        return (
            f"loss {found['early']:.3f} in the early half, {found['late']:.3f} in the late half: "
            f"difference {found['gain']:+.3f} ± {found['gain_error']:.3f} (standard error over sequences)"
        )


def _places(ctx: Context, targets: Tensor) -> tuple[Tensor, Tensor]:
    """The sequence of each target and its position there, as the model sees them: (B, T) int64 each."""
    ctx = with_documents(ctx)
    B, T = targets.shape
    sequence = (
        torch.arange(B)[:, None] if ctx.segments is None else ctx.segments.cpu().clamp(min=0)
    )  # padding scores nothing
    position = torch.arange(T) if ctx.positions is None else ctx.positions.cpu()
    return sequence.expand(B, T).contiguous(), position.expand(B, T).contiguous()


def _means(nats: Tensor, scored: Tensor, sequence: Tensor, part: Tensor, parts: int) -> tuple[Tensor, Tensor]:
    """(n,) mean loss per scored target in each of `parts`, and (S, n) by how much each of S sequences moves it, times S.

    nats, scored: (B, T) float64; sequence, part: (B, T) int64. The mean is a ratio of sums, since sequences differ in what
    they score.
    """
    shape = (int(sequence.max()) + 1, parts)
    place = (sequence * parts + part).flatten()
    sums, counts = (
        nats.new_zeros(shape).flatten().index_add(0, place, x.flatten()).view(shape) for x in (nats, scored)
    )
    means = sums.sum(0) / counts.sum(0)
    return means, (sums - means * counts) / counts.mean(0)


def _standard_error(moves: Tensor) -> Tensor:
    """(n,) of the means that sequences move by `moves` (B, n) / B."""
    return moves.std(0) / len(moves) ** 0.5 if len(moves) > 1 else torch.full_like(moves[0], torch.nan)
