"""The state of a module is all there is to it: a checkpoint restores the same bits."""

from __future__ import annotations

import torch
from torch import Tensor

from lot.testing.case import Case, output
from lot.testing.failure import require, require_equal


def state(case: Case) -> None:
    """The state survives safetensors: a module built from another seed continues with the same bits."""
    from safetensors.torch import load, save

    module = case.module(training=True)
    T = min(9, case.dims.max_len)
    with torch.no_grad():
        for i in range(2):  # what training changes (running statistics) must be in the state as well
            output(module, case.inputs(2, T, i), case.context(step=i))
    own = module.state_dict()
    odd = sorted(name for name, value in own.items() if not isinstance(value, Tensor))
    require(
        not odd,
        "state_dict",
        expected="tensors only",
        got=f"{', '.join(odd)} beside them",
        cause="get_extra_state: use buffers",
    )
    missing = sorted(name for name, _ in module.named_parameters() if name not in own)
    require(not missing, "state_dict", expected="every parameter", got=f"none of {', '.join(missing)}")
    stored = load(save({name: value.detach().cpu().contiguous().clone() for name, value in own.items()}))
    fresh = case.module(perturbed=False, seed=11)
    result = fresh.load_state_dict(stored, strict=False)
    problems = [*result.missing_keys, *result.unexpected_keys]
    require(not problems, "names in the state", expected="the same names in every build", got=", ".join(problems))
    with torch.no_grad():
        x = case.inputs(2, T)
        before, after = output(module.eval(), x, case.context(step=3)), output(fresh, x, case.context(step=3))
    require_equal(
        after,
        before,
        "y of a fresh module that loaded the state",
        cause="a tensor that is neither parameter nor buffer, or drawn from a seed of its own",
    )
