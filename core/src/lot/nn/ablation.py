"""Randomizing a mechanism's state for a while, so that a check or a diagnostic can ask what the state is worth."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch


class Ablatable:
    """Gives an attention the context manager `ablate(generator)` of the contract (see `lot.Attention`).

    While it lasts, `self.scrambler` is that generator, else it is None. The mechanism reads it where it computes its state
    (phases, a memory) and draws the state from it instead:

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
