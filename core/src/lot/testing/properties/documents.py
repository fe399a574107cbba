"""Documents that share rows give what each gives as a sequence of its own: values, and gradients of inputs and parameters."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from lot.contracts import Attention, Context
from lot.nn import apart, with_documents
from lot.random import isolated
from lot.testing.case import Case
from lot.testing.draws import normal
from lot.testing.failure import largest, require_close
from lot.testing.properties.causality import is_noisy
from lot.testing.settings import mode_name

TOLERANCE = 1e-6
"""Relative to the largest number, in float64: a mechanism may keep tables in float32."""
STEP = 20
"""Optimizer steps done, so that an embedding which is annealed shows what it begins with and what it becomes."""


class Packed(NamedTuple):
    """Rows of documents: `segments` and `padding` (B, T), and the tokens of each document, its row first."""

    segments: Tensor
    padding: Tensor | None
    documents: list[tuple[int, Tensor]]


def packed(length: int, padded: bool) -> Packed:
    """Three rows: documents of several lengths, of one and of two tokens, and one that takes the row.

    padded: whether the first row has padding on its left, and the second within a document and on its right.
    """
    segments = torch.zeros(3, length, dtype=torch.int64)
    for place in {1, 3, length // 2, length - 2}:
        segments[0, place:] += 1
    segments[1, length // 3 :] = 1
    segments[1, length - length // 4 :] = 0  # another document, although its number was there before
    padding = torch.zeros_like(segments, dtype=torch.bool)
    if padded:
        padding[0, :2] = padding[1, length // 2] = padding[1, -2:] = True
    documents = []
    for row in range(3):
        new = torch.cat((torch.ones(1, dtype=torch.bool), segments[row].diff() != 0)).cumsum(0)
        for number in range(1, int(new[-1]) + 1):
            places = ((new == number) & ~padding[row]).nonzero()[:, 0]
            if len(places):
                documents.append((row, places))
    return Packed(segments, padding if padded else None, documents)


def documents(case: Case) -> None:
    """Documents that share a row give what each gives alone, values and gradients, with padding beside them and without."""
    for training in (False, True):
        module = case.module(dtype=torch.float64, training=training)
        if training and isinstance(module, Attention) and is_noisy(case, module):
            continue
        for padded in (False, True):
            _require_apart(case, module, packed(min(24, case.dims.max_len), padded), mode_name(training))


def _require_apart(case: Case, module: nn.Module, rows: Packed, mode: str) -> None:
    B, T = rows.segments.shape
    x = case.inputs(B, T, "documents", dtype=torch.float64)
    if x.is_floating_point():
        x.requires_grad_()
    where = f"({mode}, {'without' if rows.padding is None else 'with'} padding)"
    device = torch.device(case.device)
    padding = None if rows.padding is None else rows.padding.to(device)
    ctx = with_documents(Context(case.context(step=STEP).step, padding=padding, segments=rows.segments.to(device)))
    together, alone, weights = [], [], []
    with isolated(0, "kit", "pass"):
        y = apart(module, x, ctx)[0]
    for number, (row, places) in enumerate(rows.documents):
        places = places.to(device)
        with isolated(0, "kit", "pass"):
            z = module(x[row : row + 1, places], case.context(step=STEP))[0][0]
        together.append(y[row, places])
        alone.append(z)
        weights.append(normal(tuple(z.shape), "cotangent", number, dtype=z.dtype, device=case.device))
    allowed = max(TOLERANCE, getattr(module, "tolerance", 0.0))
    cause = "`segments = True` on a module that goes on from one document to the next, or counts positions through"
    if not module.segments:
        cause = "an output that depends on later tokens or on the length of the sequence, or on earlier calls"
    scale = max(map(largest, alone))
    what = f"output for documents that share rows, against that for each alone {where}"
    require_close(torch.cat(together), torch.cat(alone), allowed, what, scale=scale, cause=cause)
    parts: dict[str, Tensor] = {name: p for name, p in module.named_parameters() if p.requires_grad}
    if x.requires_grad:
        parts = {"the input": x, **parts}
    found = _gradients(together, weights, parts)
    expected = _gradients(alone, weights, parts)
    for name, gradient in expected.items():
        what = f"gradient of {name} for documents that share rows, against the sum of those for each alone {where}"
        require_close(found[name], gradient, allowed, what, scale=max(largest(gradient), 1e-6), cause=cause)


def _gradients(outputs: list[Tensor], weights: list[Tensor], parts: dict[str, Tensor]) -> dict[str, Tensor]:
    """The gradient of each part, 0 where it is not reached."""
    total = torch.stack([(y * weight).sum() for y, weight in zip(outputs, weights, strict=True)]).sum()
    found = torch.autograd.grad(total, list(parts.values()), allow_unused=True, retain_graph=True)
    return {
        name: torch.zeros_like(part) if g is None else g for (name, part), g in zip(parts.items(), found, strict=True)
    }
