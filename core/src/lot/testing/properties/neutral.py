"""A neutral form is vanilla attention with the same projections: in training, with padding, and while decoding."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from lot.contracts import Attention
from lot.errors import BadInput
from lot.model.neutral import vanilla_twin
from lot.testing.case import Case, as_attention, output
from lot.testing.draws import normal
from lot.testing.failure import KitFailure, NotApplicable, require_close, require_equal
from lot.testing.properties.padding import example_padding
from lot.testing.settings import usual_length

TOLERANCES: Mapping[torch.dtype, float] = {torch.float32: 1e-5, torch.float64: 1e-10}
"""Relative to the largest output."""
CAUSE = "a term of the mechanism that neutral() leaves in, or positions, a mask or channels that differ from vanilla's"


def neutral(case: Case) -> None:
    """Inside neutral(), forward, gradients and decoding are vanilla's; afterwards, and inside another one, all is as before."""
    for positions in ("none", "rotary") if as_attention(case.module(positions="none")).rotary else ("none",):
        for dtype, tolerance in TOLERANCES.items():
            # Which weights dropout drops is a matter of how many numbers a form draws.
            module = as_attention(case.module(dtype=dtype, positions=positions, dropout=0.0))
            _require_vanilla(case, module, positions, dtype, tolerance)


def _require_vanilla(case: Case, module: Attention, positions: str, dtype: torch.dtype, tolerance: float) -> None:
    T = usual_length(case)
    x = case.inputs(3, T, "neutral", dtype=dtype)
    how = f"{positions} positions, {str(dtype).removeprefix('torch.')}"
    before = output(module, x, case.context()).detach()
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(module.neutral())
        except BadInput as error:
            raise NotApplicable(error.what) from None
        with module.neutral():
            pass
        try:
            twin = vanilla_twin(module, replace(case.dims, positions=positions, dropout=0.0))  # type: ignore[arg-type]
        except BadInput as error:
            raise KitFailure("neutral()", expected="lot.nn.Projections", got=error.what) from None
        for training in (False, True):
            for padding in (None, example_padding(T, case.device)):
                ctx = case.context(padding=padding, step=100)
                module.train(training)
                twin.train(training)
                what = f"{'training' if training else 'evaluation'} mode, {'with' if padding is not None else 'no'} padding, {how}"
                y, z = output(module, x, ctx), output(twin, x, ctx)
                kept = slice(None) if padding is None else ~padding
                require_close(
                    y[kept], z[kept], tolerance, f"output inside neutral() against vanilla's ({what})", cause=CAUSE
                )
        _require_gradient(case, module, twin, x, tolerance, how)
        module.eval()
        twin.eval()
        if module.can_decode():
            _require_decoding(case, module, twin, x, tolerance, how)
    require_equal(
        output(module, x, case.context()),
        before,
        f"output after neutral() has ended ({how})",
        cause="state that the context manager does not restore",
    )


def _require_gradient(case: Case, module: Attention, twin: Attention, x: Tensor, tolerance: float, how: str) -> None:
    """A run that is held neutral trains what vanilla trains."""
    found: list[Tensor] = []
    for which in (module, twin):
        given = x.clone().requires_grad_()
        y = output(which, given, case.context())
        (gradient,) = torch.autograd.grad(
            y, given, normal(tuple(y.shape), "cotangent", dtype=y.dtype, device=case.device)
        )
        found.append(gradient)
    ours, its = found
    what = f"gradient at the input inside neutral() against vanilla's ({how})"
    require_close(ours, its, 10 * tolerance, what, cause=CAUSE)


@torch.no_grad()
def _require_decoding(case: Case, module: Any, twin: Attention, x: Tensor, tolerance: float, how: str) -> None:
    y = output(twin, x, case.context())
    cache = module.init_cache(x.shape[0], x.device, x.dtype)
    n = x.shape[1] // 2
    first, cache = module.prefill(x[:, :n], case.context(), cache)
    pieces = [first]
    for t in range(n, x.shape[1]):
        piece, cache = module.decode(x[:, t : t + 1], case.context(start=t), cache)
        pieces.append(piece)
    require_close(
        torch.cat(pieces, dim=1),
        y,
        tolerance,
        f"output of decoding inside neutral() against vanilla's ({how})",
        cause=CAUSE,
    )
