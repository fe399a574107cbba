"""What a module keeps of the batches that it trained on: evaluation must not find them again."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lot.testing.case import Case, output
from lot.testing.failure import KitFailure, largest, require_close
from lot.testing.settings import STEPS, usual_length

TOLERANCE = 1e-6


def memory(case: Case) -> None:
    """After training passes, evaluation gives what an untrained twin gives; what buffers carry is told."""
    T = usual_length(case)
    trained, twin = case.module(), case.module()
    seen = [case.inputs(B, T, "seen", B, case.seed) for B in (1, 2, 4)]
    for step in STEPS:
        for x in seen:
            trained.train()
            torch.autograd.backward(output(trained, x, case.context(step=step)).square().mean())
    trained.zero_grad()
    before = dict(twin.named_buffers())
    changed = {name for name, value in trained.named_buffers() if not _equal(value, before.get(name))}
    case.findings.trained_buffers |= changed
    for what, x in (*(("seen in training", x) for x in seen), ("new", case.inputs(2, T, "new", case.seed))):
        for step in STEPS:
            got, expected = (_evaluated(module, x, case, step) for module in (trained, twin))
            if largest(got - expected) <= TOLERANCE * largest(expected):
                continue
            if not changed:
                raise KitFailure(
                    f"y in evaluation mode of inputs that are {what}, after training passes (step {step})",
                    expected="what an untrained twin with the same parameters gives",
                    got=f"a largest difference of {largest(got - expected):.3g}",
                    cause="training batches kept on the module: evaluation then finds them again",
                )
            names = ", ".join(sorted(changed))
            twin.load_state_dict(trained.state_dict())
            require_close(
                _evaluated(twin, x, case, step),
                got,
                TOLERANCE,
                f"y in evaluation mode of a twin that was given the buffers {names} (step {step})",
                cause="training batches kept on the module, beside its buffers",
            )
            size = largest(got - expected) / (largest(expected) or 1.0)
            case.tell(
                f"training changes the buffers {names}, which move evaluation by {size:.2g} of the largest output"
            )
            return


def _equal(a: Tensor, b: Tensor | None) -> bool:
    return b is not None and a.shape == b.shape and torch.equal(a, b)


@torch.no_grad()
def _evaluated(module: nn.Module, x: Tensor, case: Case, step: int) -> Tensor:
    return output(module.eval(), x, case.context(step=step))
