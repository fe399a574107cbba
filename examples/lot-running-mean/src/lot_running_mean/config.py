"""The options of this package's components. Imports no torch: `lot show` reads it."""

from __future__ import annotations

import attrs
from lot import option


@attrs.frozen(kw_only=True)
class RunningMeanConfig:
    """Options of running_mean attention."""

    decay: float = option(0.9, ge=0, lt=1, help="weight of a token relative to that of the next token")
