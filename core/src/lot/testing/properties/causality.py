"""The four probes of causality: each catches leaks that the others miss, and a causal module passes them all.

Poisoning the future with NaN is none of them: 0 x NaN is NaN in correct kernels too.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from lot.contracts import Attention
from lot.random import isolated
from lot.testing.case import Case, as_attention, output
from lot.testing.draws import normal
from lot.testing.failure import KitFailure, NotApplicable, largest, require, require_close
from lot.testing.settings import mode_name

LENGTHS = (2, 9, 33, 130)
"""Long enough to cross the borders of blocks of 32, 64 and 128 positions."""
SCALES = (1.0, 1000.0)
PREFIX_TOLERANCE = 1e-4
ROUNDING = 1e-5
"""A difference of outputs up to this part of the largest may be rounding, if no gradient flows that way."""
LARGEST_TOLERANCE = 1e-3
"""The largest tolerance that a module may declare: above it, a leak and a rounding error look the same."""
LEAK = (
    "a missing or shifted mask, a statistic over the whole sequence or the batch, a block border, or an index that "
    "depends on the length"
)


def _cuts(T: int) -> list[int]:
    """Where the change begins: at every position of a short sequence, at ends and borders of blocks of a long one."""
    if T <= 9:
        return list(range(1, T))
    return sorted({t for t in (1, T // 2, 64, 65, 128, T - 1) if 0 < t < T})


def _lengths(case: Case) -> list[int]:
    return [T for T in LENGTHS if case.dims.max_len >= T]


def _modes(case: Case) -> Iterator[tuple[str, Attention]]:
    """The perturbed module in evaluation and in training mode. Raises NotApplicable where it is not causal."""
    for training in (False, True):
        module = as_attention(case.module(training=training))
        if not module.causal:
            raise NotApplicable("it is built non-causal, and says so")
        case.findings.tolerance = max(case.findings.tolerance, float(module.tolerance))
        if not 0 <= module.tolerance <= LARGEST_TOLERANCE:
            raise KitFailure("tolerance", expected=f"0 to {LARGEST_TOLERANCE:g}", got=module.tolerance)
        yield mode_name(training), module


def _require_same(
    before: Tensor, after: Tensor, what: str, *, tolerance: float = 0.0, scale: float = 1.0, cause: str = LEAK
) -> None:
    """Raise KitFailure unless the outputs are bit-equal, or within the declared tolerance of `scale`."""
    if tolerance:
        require_close(after, before, tolerance, what, scale=scale, cause=cause)
        return
    difference = largest(after.double() - before.double())
    require(
        difference == 0, what, expected="bit-equal output", got=f"a largest difference of {difference:.3g}", cause=cause
    )


def forward(case: Case) -> None:
    """Replacing the tokens from t on leaves every output before t bit-equal.

    Where no gradient flows that way, differences of rounding pass: a choice of experts by each token groups the tokens, and
    products of other shapes round in another way.
    """
    ctx = case.context()
    for mode, module in _modes(case):
        for T in _lengths(case):
            x = case.inputs(2, T)
            with torch.no_grad():
                y = output(module, x, ctx)
            for t in _cuts(T):
                for scale in SCALES:
                    changed = x.clone()
                    changed[:, t:] = case.inputs(2, T, "future", t, scale=scale)[:, t:]
                    with torch.no_grad():
                        z = output(module, changed, ctx)
                    how = f"scale {scale:g}, T = {T}, {mode}"
                    what = f"output before position {t} after tokens from {t} on were replaced ({how})"
                    scale_of_y = max(largest(y), largest(z))
                    if _is_rounding(y[:, :t], z[:, :t]) and _reach(case, module, T, t)[0] == 0:
                        continue
                    _require_same(y[:, :t], z[:, :t], what, tolerance=module.tolerance, scale=scale_of_y)


def gradient(case: Case) -> None:
    """The gradient of the outputs before t with respect to the inputs from t on is exactly zero."""
    for mode, module in _modes(case):
        for T in _lengths(case):
            for t in _cuts(T):
                leaked, size = _reach(case, module, T, t)
                allowed = module.tolerance * size
                require(
                    leaked <= allowed,
                    f"gradient of outputs before position {t} with respect to inputs from {t} on (T = {T}, {mode})",
                    expected="exactly 0" if not allowed else f"at most {allowed:.3g}",
                    got=f"up to {leaked:.3g}",
                    cause=LEAK,
                )


def _reach(case: Case, module: Attention, T: int, t: int) -> tuple[float, float]:
    """The largest gradient of the outputs before t with respect to the inputs from t on, and with respect to all.

    Both are 0 where the input gets none, which the check `gradients` reports.
    """
    x = case.inputs(2, T).requires_grad_()
    y = output(module, x, case.context())[:, :t]
    weight = normal(tuple(y.shape), "cotangent", dtype=y.dtype, device=case.device)
    (g,) = torch.autograd.grad(y, x, weight, allow_unused=True)
    return (0.0, 0.0) if g is None else (largest(g[:, t:]), largest(g))


def _is_rounding(before: Tensor, after: Tensor) -> bool:
    """Whether two outputs in float32 differ, and by no more than rounding may make them."""
    difference = largest(after - before)
    return 0 < difference <= ROUNDING * largest(before)


def prefix(case: Case) -> None:
    """A prefix gives what it gives inside a longer sequence: nothing depends on the length.

    Noise of another shape is other noise: where there is some in training, this holds in evaluation mode only.
    """
    ctx = case.context()
    for mode, module in _modes(case):
        if module.depends_on_length:
            _tell_dependence(case, module)
        if module.training and is_noisy(case, module):
            continue
        for T in _lengths(case):
            x = case.inputs(2, T)
            with torch.no_grad():
                y = output(module, x, ctx)
                for t in _cuts(T):
                    require_close(
                        output(module, x[:, :t], ctx),
                        y[:, :t],
                        max(PREFIX_TOLERANCE, module.tolerance),
                        f"output of the first {t} of {T} tokens alone, against the same tokens inside the whole ({mode})",
                        scale=largest(y),
                        cause="a factor or a period that depends on the length of the sequence, or a leak",
                    )


def _tell_dependence(case: Case, module: Attention) -> None:
    """Raise NotApplicable with how much the length changes."""
    T = max(_lengths(case))
    x = case.inputs(2, T)
    with torch.no_grad():
        y, z = output(module, x, case.context()), output(module, x[:, : T // 2], case.context())
    size = largest(z - y[:, : T // 2]) / (largest(y) or 1.0)
    raise NotApplicable(
        f"it declares depends_on_length: {T // 2} of {T} tokens alone give something else than within the whole, by "
        f"{size:.2g} of the largest output; it has no cache"
    )


def is_noisy(case: Case, module: Attention) -> bool:
    """Whether two passes differ that differ in the seed of torch's generator alone."""
    dtype = next((p.dtype for p in module.parameters()), torch.float32)
    x, ctx = case.inputs(2, min(9, case.dims.max_len), dtype=dtype), case.context()
    found = []
    for seed in (0, 1):
        with torch.no_grad(), isolated(seed, "kit", "noise"):
            found.append(module(x, ctx)[0])
    return not torch.equal(*found)


def batch(case: Case) -> None:
    """Other members of the batch and earlier calls change nothing: equal values, zero gradients between members.

    Values are bit-equal but for rounding, as in `forward`.
    """
    ctx = case.context()
    for training in (False, True):
        mode, module = mode_name(training), as_attention(case.module(training=training))
        T = min(9, case.dims.max_len)
        x = case.inputs(3, T)
        others = torch.cat((x[:1], 1000 * case.inputs(2, T, "others")))
        with torch.no_grad():
            y, z, again = output(module, x, ctx), output(module, others, ctx), output(module, x, ctx)
        cause = "a statistic over the batch, a batch dimension flattened into another, or state kept between calls"
        x.requires_grad_()
        (g,) = torch.autograd.grad(output(module, x, ctx)[0].square().sum(), x, allow_unused=True)
        leaked = 0.0 if g is None else largest(g[1:])
        what = f"output of a sequence after the other members of the batch were replaced ({mode})"
        # Equal bits where both runs have the same shape; rows of a matrix product do not depend on each other.
        if not (_is_rounding(y[0], z[0]) and leaked == 0):
            _require_same(y[0], z[0], what, tolerance=module.tolerance, scale=largest(z), cause=cause)
        _require_same(
            y,
            again,
            f"output of the same input again, after another one ({mode})",
            cause="state kept between calls; state belongs to a sequence",
        )
        require(
            leaked <= module.tolerance * (0.0 if g is None else largest(g)),
            f"gradient of one sequence's output with respect to other members of the batch ({mode})",
            expected="exactly 0",
            got=f"up to {leaked:.3g}",
            cause=cause,
        )
