"""The contract of a loss."""

from __future__ import annotations

import abc

from torch import Tensor

from lot.contracts.batch import Batch
from lot.contracts.context import Context
from lot.contracts.output import Output


class Loss(abc.ABC):
    """Named terms of the objective; the engine applies weight and schedule and logs each term.

    A term is a mean over a batch, and a batch may come in parts: over several processes, or in micro-steps. So a loss
    gives the *sum* over its part (by being called) and the number that the sum is divided by (`counts`); the engine adds
    both up over all parts before it divides. Three sequences of which one has a single scored target then weigh as in one
    large batch. What is no mean but depends on one (a squared mean, say) is made of the means in `finish`.

    needs: signals that `output.signals` must hold when this loss is called.
    optional: signals that it uses where the model gives them; it says in its description what it does without.
    per_target: whether every term is a sum over scored targets of what depends on the logits there alone, so that a part of
    a sequence can be scored by itself.
    """

    needs: frozenset[str] = frozenset()
    optional: frozenset[str] = frozenset()
    per_target: bool = False

    @abc.abstractmethod
    def __call__(self, output: Output, batch: Batch, ctx: Context) -> dict[str, Tensor]:
        """The sum () of each term over the batch, by name, differentiable. Where `finish` is defined: of any shape."""

    def counts(self, batch: Batch) -> dict[str, Tensor]:
        """What the sum of each term is divided by, () each, known from the batch alone.

        A term that is left out is divided by the number of scored targets. `batch.scored()` and `batch.tokens()` count.
        """
        return {}

    def finish(self, means: dict[str, Tensor]) -> dict[str, Tensor]:
        """The terms () by name, made of the means over the whole batch; the default is the means themselves.

        A loss that defines this depends on the whole batch at once: processes bring the sums together before it is called,
        and `train.accumulate` is refused.
        """
        return means

    @property
    def needs_whole_batch(self) -> bool:
        """Whether the terms are more than means over the batch (see `finish`)."""
        return type(self).finish is not Loss.finish

    def terms(self, output: Output, batch: Batch, ctx: Context) -> dict[str, Tensor]:
        """The terms () of a batch that comes in one part, by name; their sum is what the weight multiplies."""
        sums, counts = self(output, batch, ctx), self.counts(batch)
        return self.finish(
            {name: total / _at_least_one(counts.get(name, batch.scored())) for name, total in sums.items()}
        )


def _at_least_one(count: Tensor) -> Tensor:
    """A sum over nothing is 0, not NaN."""
    return count.clamp(min=1)
