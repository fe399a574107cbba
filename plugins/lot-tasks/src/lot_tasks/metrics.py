"""The sets of metrics that tasks share. Each imports torchmetrics when it is first made: a run does without until it validates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torchmetrics import Metric, MetricCollection


def answer_metrics(start: int = 0) -> MetricCollection:
    """loss, exact_match and token_accuracy; the latter two from position `start` on."""
    from lot.metrics import ExactMatch, MeanLoss, TokenAccuracy

    return collection(loss=MeanLoss(), exact_match=ExactMatch(start), token_accuracy=TokenAccuracy(start))


def mad_metrics(vocab_size: int) -> MetricCollection:
    """loss, exact_match, token_accuracy and, over `vocab_size` tokens, macro_accuracy."""
    from lot.metrics import ExactMatch, MeanLoss, TokenAccuracy
    from lot_tasks.macro_accuracy import MacroAccuracy

    return collection(
        loss=MeanLoss(),
        exact_match=ExactMatch(),
        token_accuracy=TokenAccuracy(),
        macro_accuracy=MacroAccuracy(vocab_size),
    )


def pattern_metrics() -> MetricCollection:
    """loss and token_accuracy."""
    from lot.metrics import MeanLoss, TokenAccuracy

    return collection(loss=MeanLoss(), token_accuracy=TokenAccuracy())


def language_metrics(bits: str | None = None) -> MetricCollection:
    """loss, perplexity and, under the name `bits` if one is given, the loss in bits per token."""
    from lot.metrics import BitsPerUnit, MeanLoss, Perplexity

    named: dict[str, Metric] = {"loss": MeanLoss(), "perplexity": Perplexity()}
    if bits is not None:
        named[bits] = BitsPerUnit()
    return collection(shared=[list(named)], **named)


def collection(shared: Sequence[list[str]] = (), **metrics: Metric) -> MetricCollection:
    """The named metrics; those of each list in `shared` have equal states, of which one is updated for all.

    The groups are stated because torchmetrics would otherwise find them by comparing values on the host.
    """
    from torchmetrics import MetricCollection

    in_groups = {name for group in shared for name in group}
    alone = [[name] for name in metrics if name not in in_groups]
    return MetricCollection(dict(metrics), compute_groups=[*shared, *alone])
