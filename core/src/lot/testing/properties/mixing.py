"""An attention mixes positions: one that treats every token alone is no mechanism, and nothing else would tell."""

from __future__ import annotations

import torch

from lot.testing.case import Case
from lot.testing.failure import KitFailure, largest
from lot.testing.settings import SETTINGS, run_in, usual_length


@torch.no_grad()
def mixing(case: Case) -> None:
    """In some mode and at some step, replacing all tokens but the last moves the output at the last one."""
    T = usual_length(case)
    x, other = case.inputs(2, T), case.inputs(2, T, "others")
    other[:, -1] = x[:, -1]
    module = case.module()
    for setting in SETTINGS:
        moved = largest(run_in(setting, case, module, other)[:, -1] - run_in(setting, case, module, x)[:, -1])
        if moved > 0:
            return
    raise KitFailure(
        "output at the last token after all others were replaced",
        expected="another one",
        got="the same",
        cause="a map of each token by itself: it attends to nothing",
    )
