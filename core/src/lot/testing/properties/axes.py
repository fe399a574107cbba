"""What an attention promises at every point of configuration, not at one: causality, padding, prefixes, shapes.

The exhaustive probes of `causality` stand at one point and try every place of a cut; these stand at many.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from lot.contracts import Attention, Context
from lot.testing.case import Case, as_attention, output
from lot.testing.draws import normal
from lot.testing.failure import NotApplicable, largest, require, require_close
from lot.testing.points import Point, built, points
from lot.testing.properties.causality import LEAK, PREFIX_TOLERANCE, ROUNDING, is_noisy
from lot.testing.properties.padding import TOLERANCE, honors_padding
from lot.testing.settings import mode_name


def _modules(case: Case) -> Iterator[tuple[Point, str, Attention]]:
    """The module of each point, in evaluation and in training mode."""
    for point in points(case):
        module = built(case, point)
        if module is None:
            continue
        for training in (False, True):
            yield point, f"{point}, {mode_name(training)}", as_attention(module.train(training))


def causal(case: Case) -> None:
    """At points over all axes, outputs see neither later inputs and padding nor other sequences: in values and gradients."""
    causal = False
    for point, where, module in _modules(case):
        causal |= module.causal
        ctx = case.context(step=point.step, padding=point.mask(case))
        x = point.inputs(case).requires_grad_()
        y = output(module, x, ctx)
        if not _is_finite(case, point, y):
            continue
        # An even cut in one mode, an odd one in the other.
        cuts = _cuts(point, ctx.padding, (point.key + module.training) % 2, causal=module.causal)
        _require_blind(case, point, module, x, y, ctx, cuts.to(case.device), where)
        if module.training:
            continue
        again = largest(output(module, x, ctx) - y)  # with gradients too: without, the form may be another
        require(
            again == 0,
            f"output of the same input again, after others ({where})",
            expected="bit-equal output",
            got=f"a largest difference of {again:.3g}",
            cause="state kept between calls; state belongs to a sequence",
        )
    if not causal:
        raise NotApplicable("it is built non-causal, and says so; other sequences change nothing")


def _cuts(point: Point, padding: Tensor | None, odd: int, *, causal: bool) -> Tensor:
    """(B,) int64, where each sequence begins to be replaced, at odd or at even positions: T where it is kept whole.

    A sequence is cut between two tokens that are no padding where it has such, for a token may see its neighbor only.
    At least one is kept where there are others, so that what passes between sequences shows. Not causal: whole or nothing.
    """
    rng, (B, T) = point.generator("cuts", odd), (point.B, point.T)
    cuts = np.zeros(B, dtype=np.int64)
    if causal and T > 1:
        told = np.ones((B, T), dtype=bool) if padding is None else ~padding.cpu().numpy()
        parity = np.arange(1, T) % 2 == odd
        for b, between in enumerate(told[:, :-1] & told[:, 1:]):
            # The best that there is: between two tokens at the parity, between two tokens, at the parity, anywhere.
            places = next(where for where in (between & parity, between, parity, ~parity) if where.any())
            cuts[b] = 1 + rng.choice(np.flatnonzero(places))
    if B > 1 or not causal or T == 1:
        cuts[int(rng.integers(B))] = T
    return torch.from_numpy(cuts)


def _require_blind(
    case: Case, point: Point, module: Attention, x: Tensor, y: Tensor, ctx: Context, cuts: Tensor, where: str
) -> None:
    """Replacing inputs and padding from `cuts` (B,) on changes nothing before, and no gradient reaches them."""
    later = torch.arange(point.T, device=case.device) >= cuts[:, None]  # (B, T)
    told = torch.ones_like(later) if ctx.padding is None else ~ctx.padding
    kept = told & ~later
    if not bool(kept.any()) or not bool(later.any()):
        return
    what = "output of tokens after later inputs and other sequences were replaced"
    weight = normal(tuple(y.shape), "cotangent", point.key, dtype=y.dtype, device=case.device) * kept[..., None]
    (g,) = torch.autograd.grad(y, x, weight, allow_unused=True, retain_graph=True)
    reached, size = (0.0, 0.0) if g is None else (largest(g[later]), largest(g))
    require(
        not reached > module.tolerance * size,
        f"gradient of outputs with respect to later inputs and other sequences ({where})",
        expected="exactly 0" if not module.tolerance else f"at most {module.tolerance * size:.3g}",
        got=f"up to {reached:.3g}, {reached / size if size else 0:.2g} of the largest",
        cause=LEAK,
    )
    scale = 1.0 if point.parameters == "far" else point.generator("scale", int(cuts[0])).choice([1.0, 1000.0])
    changed = torch.where(later[..., None], point.inputs(case, "replaced", scale=scale), x.detach())
    with torch.no_grad():
        z = output(module, changed, ctx)
    difference = largest(z[kept] - y[kept])
    allowed = max(module.tolerance * max(largest(y), largest(z)), ROUNDING * largest(y) if reached == 0 else 0.0)
    require(
        difference <= allowed,
        f"{what} ({where}, scale {scale:g})",
        expected="the same output" if not allowed else f"the same output up to rounding ({allowed:.3g})",
        got=f"a largest difference of {difference:.3g}",
        cause=LEAK,
    )
    if ctx.padding is None or not module.causal:
        return
    other = torch.where(later, ~ctx.padding, ctx.padding)
    with torch.no_grad():
        w = output(module, x, replace(ctx, padding=other))
    require_close(
        w[kept],
        y[kept].detach(),
        max(TOLERANCE, module.tolerance),
        f"output of tokens after padding of later tokens was changed ({where})",
        scale=largest(y[kept]),
        cause="a number of tokens that is counted over the whole sequence: it tells where the text ends",
    )


def _is_finite(case: Case, point: Point, y: Tensor) -> bool:
    """Whether the output is finite; far from the initial values it may overflow, which is told."""
    finite = bool(y.isfinite().all())
    if not finite and point.parameters == "far":
        case.tell(f"the output is not finite with parameters far from their initial values ({point})")
        return False
    require(finite, f"output ({point})", expected="finite numbers", got="NaN or infinity")
    return True


def padding(case: Case) -> None:
    """At points over all axes, each in one of the modes, what stands at padding changes no other token."""
    if not honors_padding(case, as_attention(case.module())):
        raise NotApplicable("it ignores ctx.padding")
    for point, where, module in _modules(case):
        mask = point.mask(case)
        if mask is None or not bool(mask.any()) or module.training != bool(point.key & 1):
            continue
        ctx, x = case.context(step=point.step, padding=mask), point.inputs(case)
        scale = 1.0 if point.parameters == "far" else 1000.0
        with torch.no_grad():
            y = output(module, x, ctx)
            if not _is_finite(case, point, y):
                continue
            z = output(module, torch.where(mask[..., None], point.inputs(case, "filling", scale=scale), x), ctx)
        require_close(
            z[~mask],
            y[~mask],
            max(TOLERANCE, module.tolerance),
            f"output of other tokens after padded ones were replaced ({where}, scale {scale:g})",
            scale=largest(y[~mask]),
            cause="padded keys that are masked by a finite number, or a state that padded tokens still drive",
        )


def prefix(case: Case) -> None:
    """At points over all axes, a prefix gives what it gives inside the whole, with padding too."""
    noisy = is_noisy(case, as_attention(case.module(training=True)))
    for point, where, module in _modules(case):
        if not module.causal:
            raise NotApplicable("it is built non-causal, and says so")
        if module.depends_on_length:
            raise NotApplicable("it declares depends_on_length")
        # Far parameters amplify rounding in float32, and noise of another shape is other noise.
        blurred = point.parameters == "far" and point.dtype == torch.float32
        if point.T < 2 or blurred or (module.training and (noisy or point.dims.dropout)):
            continue
        mask, x = point.mask(case), point.inputs(case)
        t = int(point.generator("prefix").integers(1, point.T))
        with torch.no_grad():
            y = output(module, x, case.context(step=point.step, padding=mask))
            if not _is_finite(case, point, y):
                continue
            part = None if mask is None else mask[:, :t]
            z = output(module, x[:, :t], case.context(step=point.step, padding=part))
        told = torch.ones(point.B, t, dtype=torch.bool, device=case.device) if part is None else ~part
        require_close(
            z[told],
            y[:, :t][told],
            max(PREFIX_TOLERANCE, module.tolerance),
            f"output of the first {t} tokens alone, against the same tokens inside the whole ({where})",
            scale=largest(y),
            cause="a factor or a period that depends on the length of the sequence, or a leak",
        )


def shapes(case: Case) -> None:
    """At points over all axes, y is (B, T, D) in the type of the inputs, and gradients are finite."""
    for point in points(case):
        module = built(case, point, training=True)
        if module is None:
            continue
        x = point.inputs(case).requires_grad_()
        y = output(module, x, case.context(step=point.step, padding=point.mask(case)))
        expected = (point.B, point.T, case.dims.width)
        require(tuple(y.shape) == expected, f"shape of y ({point})", expected=str(expected), got=str(tuple(y.shape)))
        require(y.dtype == point.dtype, f"dtype of y ({point})", expected=str(point.dtype), got=str(y.dtype))
        if not _is_finite(case, point, y) or point.parameters == "far":
            continue
        torch.autograd.backward(y, normal(tuple(y.shape), "cotangent", point.key, dtype=y.dtype, device=case.device))
        for name, p in [("the input", x), *module.named_parameters()]:
            finite = p.grad is None or bool(p.grad.isfinite().all())
            require(
                finite,
                f"gradient of {name} ({point}, training mode)",
                expected="finite numbers",
                got="NaN or infinity",
                cause="a division by zero, or the derivative of a root, norm or angle at 0",
            )
