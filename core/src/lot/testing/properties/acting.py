"""Every parameter learns, from the very values that training begins with: a product of two zeros never does."""

from __future__ import annotations

import torch

from lot.testing.case import Case, output
from lot.testing.draws import normal
from lot.testing.failure import largest, require
from lot.testing.settings import STEPS, inert_parameters, usual_length

TRAINED = 3
"""Steps of training at each of the steps that the context tells: a gate that opens first lets the others learn."""
RATE = 1e-3


def acts(case: Case) -> None:
    """From the initial values, a few steps of training bring a gradient to every parameter that is not inert."""
    module = case.module(perturbed=False, training=True)
    waiting = {name for name, p in module.named_parameters() if p.requires_grad} - inert_parameters(module)
    if not waiting:
        return
    optimizer = torch.optim.AdamW([p for p in module.parameters() if p.requires_grad], lr=RATE)
    B, T = 4, usual_length(case)
    taken = 0
    for step in STEPS:
        for number in range(TRAINED):
            x = case.inputs(B, T, "acts", step, number, case.seed)
            y = output(module, x, case.context(step=step + number))
            target = normal(tuple(y.shape), "target", step, number, case.seed, dtype=y.dtype, device=case.device)
            optimizer.zero_grad()
            torch.autograd.backward((y - target).square().mean())
            waiting -= {name for name, p in module.named_parameters() if p.grad is not None and largest(p.grad) > 0}
            if not waiting:
                return
            optimizer.step()
            taken += 1
    require(
        not waiting,
        f"gradients in {taken} steps of training (AdamW, learning rate {RATE:g}) from the initial values",
        expected="one that is not 0 for every parameter that is not inert",
        got=f"none for {', '.join(sorted(waiting))}",
        cause="a product of two factors that both begin at 0, so that neither ever gets a gradient",
    )
