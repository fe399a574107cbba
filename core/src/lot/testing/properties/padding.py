"""Padding changes nothing for other tokens: a batch of short texts gives what each text gives alone."""

from __future__ import annotations

import torch
from torch import Tensor

from lot.contracts import Attention
from lot.testing.case import Case, as_attention, output
from lot.testing.draws import normal
from lot.testing.failure import NotApplicable, largest, require_close, require_finite
from lot.testing.settings import mode_name

TOLERANCE = 1e-5


def example_padding(T: int, device: torch.device | str) -> Tensor:
    """(3, T) bool: one row is padded on the left, one here and there, one on the right."""
    position = torch.arange(T)
    rows = [position < T // 3, (position % 3 == 1) & (position > 0), position >= T - T // 3]
    return torch.stack(rows).to(device)


@torch.no_grad()
def honors_padding(case: Case, module: Attention) -> bool:
    """Whether padding changes anything for the tokens that are no padding."""
    T = min(12, case.dims.max_len)
    dtype = next((p.dtype for p in module.parameters()), torch.float32)
    x, padding = case.inputs(3, T, "padding", dtype=dtype), example_padding(T, case.device)
    with_padding, without = output(module, x, case.context(padding=padding)), output(module, x, case.context())
    return not torch.equal(with_padding[~padding], without[~padding])


def padding(case: Case) -> None:
    """Padded tokens change no other token and get no gradient; a sequence that is nothing but padding gives no NaN."""
    T = min(12, case.dims.max_len)
    cause = "padded keys that are masked by a finite number, or a state that padded tokens still drive"
    for training in (False, True):
        module = as_attention(case.module(training=training))
        if not honors_padding(case, module):
            raise NotApplicable("it ignores ctx.padding")
        mode = mode_name(training)
        pad = example_padding(T, case.device)
        ctx = case.context(padding=pad)
        x = case.inputs(3, T, "padding").requires_grad_()
        y = output(module, x, ctx)
        for scale in (1.0, 1000.0):
            changed = torch.where(pad[..., None], case.inputs(3, T, "filling", scale=scale), x.detach())
            with torch.no_grad():
                z = output(module, changed, ctx)
            what = f"output of other tokens after padded ones were replaced (scale {scale:g}, {mode})"
            require_close(z[~pad], y.detach()[~pad], TOLERANCE, what, cause=cause)
        cotangent = normal(tuple(y.shape), "cotangent", device=case.device).masked_fill(pad[..., None], 0.0)
        (g,) = torch.autograd.grad(y, x, cotangent)
        what = f"gradient of other tokens' output with respect to padded tokens ({mode})"
        require_close(g[pad], torch.zeros_like(g[pad]), TOLERANCE, what, scale=largest(g), cause=cause)
        with torch.no_grad():
            nothing = output(module, x, case.context(padding=torch.ones_like(pad)))
        require_finite(
            nothing, "output of sequences that are nothing but padding", cause="a softmax or a mean over no tokens"
        )
