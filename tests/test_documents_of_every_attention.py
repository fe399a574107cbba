"""Every installed attention computes documents that share rows as it computes each alone.

These tests load kernels, which a process takes from one cache only: they change no LOT_CACHE.
"""

from __future__ import annotations

from typing import Any

import pytest

from lot import registry
from lot.testing import checks

FORMS = [
    *((component.name, {}) for component in registry().components("attention")),
    ("lattice", {"dynamics": "relax", "steps": 2}),
    ("phase", {"causal": False}),
    ("toroidal", {"form": "published", "causal": False}),
    ("toroidal", {"window": 3}),
    ("toroidal_fft", {"causal": False}),
]


@pytest.mark.parametrize(("name", "options"), FORMS, ids=str)
def test_every_attention_that_is_installed_computes_documents_apart(name: str, options: dict[str, Any]) -> None:
    checks("attention")["documents"](registry().get("attention", name), options)
