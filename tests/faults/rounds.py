"""How long the campaign of faults lasts: short where all tests run, long in the session `faults`."""

from __future__ import annotations

import os
import random
import secrets

ROUNDS = int(os.environ.get("LOT_FAULT_ROUNDS", "1"))
"""Times that each part of the campaign is repeated, always with other faults."""
LONG = ROUNDS > 1


def fresh() -> random.Random:
    """A generator of its own for a test; its seed, which `LOT_FAULT_SEED` sets, stands in the report of a failure."""
    seed = int(os.environ.get("LOT_FAULT_SEED") or secrets.randbits(31))
    print(f"LOT_FAULT_SEED={seed}")
    return random.Random(seed)
