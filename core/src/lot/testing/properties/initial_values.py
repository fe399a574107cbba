"""Initial values are keyed by seed and name, so that two models share every parameter of equal name."""

from __future__ import annotations

import torch

from lot.random import initialize
from lot.testing.case import Case
from lot.testing.failure import require, require_equal
from lot.testing.generators import untouched_generators


def initial_values(case: Case) -> None:
    """Initial values depend on the seed and the name of the parameter only; no global generator is drawn from."""
    first, again = case.module(perturbed=False, seed=3), case.module(perturbed=False, seed=3)
    values = dict(first.named_parameters())
    for name, p in again.named_parameters():
        require_equal(
            p,
            values[name],
            f"initial value of {name} for the same seed",
            cause="a value drawn elsewhere than in reset_parameters",
        )
    asked: set[str] = set()

    def generator_for(name: str) -> torch.Generator:
        asked.add(name)
        return torch.Generator().manual_seed(5)

    with untouched_generators("reset_parameters"):
        again.reset_parameters(generator_for)  # type: ignore[operator]
    unknown = sorted(asked - {name for name, _ in again.named_parameters(remove_duplicate=False)})
    require(
        not unknown,
        "names for which reset_parameters asked a generator",
        expected="full names of parameters",
        got=", ".join(unknown),
        cause="a child's reset_parameters that is not given a prefixed generator_for",
    )
    initialize(again, 3)
    for name, p in again.named_parameters():
        require_equal(
            p,
            values[name],
            f"value of {name} after a second reset",
            cause="reset_parameters that adds to the value that is there",
        )
