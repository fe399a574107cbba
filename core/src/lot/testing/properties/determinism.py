"""Equal inputs give equal bits: without that no run can be resumed or compared."""

from __future__ import annotations

import torch
from torch import Tensor

from lot.errors import BadInput
from lot.testing.case import Case, output
from lot.testing.failure import require_equal
from lot.testing.generators import other_generators, untouched_generators
from lot.testing.settings import mode_name


def determinism(case: Case) -> None:
    """Equal inputs give equal bits in both modes, in evaluation for any state of the global generators, with no dropout."""
    T = min(9, case.dims.max_len)
    x, other = case.inputs(2, T), case.inputs(2, max(1, T - 2), "other")
    for training in (False, True):
        module = case.module(training=training)
        with torch.no_grad():
            first = output(module, x, case.context())
            output(module, other, case.context(step=7))
            again = output(module, x, case.context())
            with untouched_generators(f"a pass in {mode_name(training)}", torch_too=not training):
                module(x, case.context())
        require_equal(
            again,
            first,
            f"y of the same input again, after a pass of another input ({mode_name(training)})",
            cause="state kept between calls, a clock, a global generator, or a reduction of undefined order",
        )
    with torch.no_grad():
        module = case.module()
        first = output(module, x, case.context())
        with other_generators(99):
            require_equal(
                module(x, case.context())[0],
                first,
                "y under another state of the global generators (evaluation mode)",
                cause="noise or dropout that does not end with training mode",
            )
    _require_no_dropout(case, x, first)


@torch.no_grad()
def _require_no_dropout(case: Case, x: Tensor, expected: Tensor) -> None:
    try:
        dropping = case.module(dropout=0.5)
    except BadInput:
        return  # a mechanism that cannot drop attention weights says so
    require_equal(
        output(dropping, x, case.context()),
        expected,
        "y in evaluation mode of a module built with dropout 0.5",
        cause="dropout that ignores self.training",
    )
