"""How far a difference in loss would move on other test examples, beside how far it moves from seed to seed.

Seeds generalize over training: initial values, batches, noise. Test examples generalize over data, with the models as
they were trained. Neither says what the other does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from lot.runs.examples import ExampleLosses, load_example_losses

METRIC = "loss"
"""The metric that is kept by example."""


class OverExamples(NamedTuple):
    """The spread of the mean difference of two arms over test examples."""

    error: float
    """Standard error of the difference, in nats per scored target."""
    examples: int
    """Rows of the test split, each an example or a group of neighbors."""


def over_examples(ours: Sequence[Path], theirs: Sequence[Path]) -> OverExamples | None:
    """The standard error over examples of the difference of two arms, averaged over the seeds that both finished.

    ours, theirs: directories of their runs, seed by seed. The difference is a ratio of sums, of losses and of scored
    targets, so its error is that of the ratio (Cochran, "Sampling techniques", 1977, 6.4). None where runs kept no losses by
    example, or where the two do not fit.
    """
    pairs = []
    for mine, its in zip(ours, theirs, strict=True):
        a, b = load_example_losses(mine), load_example_losses(its)
        if a is None or b is None:
            continue
        if a.size != b.size or not torch.equal(a.scored, b.scored):
            return None
        pairs.append((a, b))
    return error_over_examples(pairs) if pairs else None


def error_over_examples(pairs: Sequence[tuple[ExampleLosses, ExampleLosses]]) -> OverExamples | None:
    """The same for what was counted on equal examples, a pair for each seed; None where the examples are too few."""
    scored = pairs[0][0].scored.double()
    difference = torch.stack([a.loss - b.loss for a, b in pairs]).mean(0)[scored > 0]  # (N,) nats
    scored = scored[scored > 0]
    rows = len(scored)
    if rows < 2 or not torch.isfinite(difference).all():
        return None
    rest = difference - difference.sum() / scored.sum() * scored
    error = math.sqrt(rows / (rows - 1) * float((rest**2).sum())) / float(scored.sum())
    return OverExamples(error, rows)
