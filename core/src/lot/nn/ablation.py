"""Randomizing the state of a mechanism for a while.

A check or a diagnostic asks in this way whether the state matters at all.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch


class Ablatable:
    """Gives an attention the context manager `ablate(generator)` of the contract (see `lot.Attention`).

    While that context lasts, `self.scrambler` is the generator; otherwise it is None.
    Where the mechanism computes its state (phases, a memory), it looks at `self.scrambler`
    and draws the state from it instead:

        class Waves(Ablatable, CachedAttention[KeyValueCache]): ...

            if self.scrambler is not None:
                return random_phases(theta, self.scrambler)
    """

    scrambler: torch.Generator | None = None

    @contextlib.contextmanager
    def ablate(self, generator: torch.Generator) -> Iterator[None]:
        """A context in which the state is drawn from `generator`."""
        self.scrambler = generator
        try:
            yield
        finally:
            self.scrambler = None
