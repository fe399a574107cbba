"""Leaving a mechanism out for a while, so that vanilla attention remains.

A study trains an arm in this way throughout, with the same module and the same initial values:
what the mechanism is worth is the difference between the two.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


class Neutralizable:
    """Gives an attention the context manager `neutral()` of the contract (see `lot.Attention`).

    While that context lasts, `self.is_neutral` is true. The mechanism looks at it where it would act,
    and leaves out what it adds to the score or to the output:

        class Waves(Neutralizable, CachedAttention[KeyValueCache]): ...

            features = (None, None) if self.is_neutral else self.features(theta)
    """

    is_neutral: bool = False

    @contextlib.contextmanager
    def neutral(self) -> Iterator[None]:
        """A context in which the mechanism is left out."""
        before = self.is_neutral
        self.is_neutral = True
        try:
            yield
        finally:
            self.is_neutral = before
