"""The checks of an embedding: its vectors depend on token, position and step only."""

from __future__ import annotations

import torch
from torch import Tensor

from lot.contracts import Embedding
from lot.testing.case import Case, CheckFunction, output
from lot.testing.failure import KitFailure, NotApplicable, largest, require, require_close, require_equal
from lot.testing.points import built as built_at, points
from lot.testing.properties import compiling, gradients
from lot.testing.properties.ablation import ablation
from lot.testing.properties.acting import acts
from lot.testing.properties.building import built
from lot.testing.properties.determinism import determinism
from lot.testing.properties.documents import documents
from lot.testing.properties.dtypes import dtypes
from lot.testing.properties.initial_values import initial_values
from lot.testing.properties.memory import memory
from lot.testing.properties.shapes import require_shapes
from lot.testing.properties.signals import signals
from lot.testing.properties.state import state
from lot.testing.settings import STEPS, mode_name


def _counts(case: Case) -> Tensor:
    """(V,) occurrences as in a corpus: a few tokens are frequent, most are rare, in no order of their ids."""
    V = case.dims.vocab_size
    rank = torch.randperm(V, generator=torch.Generator().manual_seed(7))
    return 10_000 // (rank + 1)


def builds(case: Case) -> None:
    """The factory gives an embedding with default options, whether or not the task counts its tokens."""
    built(case, Embedding)
    with torch.no_grad():
        y = output(case.module(token_counts=_counts(case)), case.inputs(2, 5), case.context())
    require(
        tuple(y.shape) == (2, 5, case.dims.width),
        "shape of x with token counts",
        expected=str((2, 5, case.dims.width)),
        got=str(tuple(y.shape)),
    )


def shapes(case: Case) -> None:
    """x is (B, T, D) for one token up to max_len tokens; different tokens of the vocabulary get different vectors."""
    L, V = case.dims.max_len, case.dims.vocab_size
    require_shapes(case, ((1, 1), (2, min(7, L)), (1, L)))
    ids = torch.arange(V, device=case.device)[None, :L]
    with torch.no_grad():
        y = output(case.module(), ids, case.context())[0]
    distance = torch.cdist(y.double(), y.double()) + torch.eye(len(y), device=case.device)
    require(
        bool((distance > 0).all()),
        "vectors of different tokens",
        expected="different vectors",
        got="two that are equal",
        cause="a table that maps several tokens to one row",
    )


@torch.no_grad()
def positions(case: Case) -> None:
    """A vector depends on its token, position and step only; other tokens and other sequences change nothing."""
    T = min(12, case.dims.max_len)
    for training in (False, True):
        module = case.module(training=training)
        for step in STEPS:
            ids = case.inputs(3, T)
            x = output(module, ids, case.context(step=step))
            others = case.inputs(3, T, "others")
            for t in range(T):
                changed = others.clone()
                changed[0, t] = ids[0, t]
                require_equal(
                    output(module, changed, case.context(step=step))[0, t],
                    x[0, t],
                    f"vector at position {t} after all other tokens were replaced (step {step})",
                    cause="a statistic over the sequence or the batch, or a leak of later tokens",
                )
                alone = output(module, ids[:, t : t + 1], case.context(step=step, start=t))
                require_close(
                    alone[:, 0],
                    x[:, t],
                    1e-5,
                    f"vector of the token at position {t} alone, with ctx.start = {t} (step {step})",
                    scale=largest(x),
                    cause="a positional part that leaves ctx.start out, so that decoding is wrong",
                )


@torch.no_grad()
def everywhere(case: Case) -> None:
    """At points over all axes, a vector depends on its token, position and step only, and x is (B, T, D)."""
    for point in points(case):
        module = built_at(case, point)
        if module is None:
            continue
        ids, others, mask = point.inputs(case), point.inputs(case, "others"), point.mask(case)
        for training in (False, True):
            module.train(training)
            where = f"{point}, {mode_name(training)}"
            x = output(module, ids, case.context(step=point.step, padding=mask))
            expected = (point.B, point.T, case.dims.width)
            require(
                tuple(x.shape) == expected, f"shape of x ({where})", expected=str(expected), got=str(tuple(x.shape))
            )
            require(x.dtype == point.dtype, f"dtype of x ({where})", expected=str(point.dtype), got=str(x.dtype))
            if not bool(x.isfinite().all()) and point.parameters == "far":
                case.tell(f"vectors are not finite with parameters far from their initial values ({point})")
                continue
            kept = torch.from_numpy(point.generator("kept").random((point.B, point.T)) < 0.5).to(case.device)
            y = output(module, torch.where(kept, ids, others), case.context(step=point.step, padding=mask))
            told = kept if mask is None else kept & ~mask
            require_equal(
                y[told],
                x[told],
                f"vectors of tokens after other tokens and sequences were replaced ({where})",
                cause="a statistic over the sequence or the batch, or a leak of later tokens",
            )
            t = int(point.generator("start").integers(point.T))
            part = None if mask is None else mask[:, t:]
            end = output(module, ids[:, t:], case.context(step=point.step, start=t, padding=part))
            told = torch.ones_like(ids[:, t:], dtype=torch.bool) if part is None else ~part
            require_close(
                end[told],
                x[:, t:][told],
                1e-5,
                f"vectors from position {t} on, with ctx.start = {t} ({where})",
                scale=largest(x),
                cause="a positional part that leaves ctx.start or the step out, so that decoding is wrong",
            )


@torch.no_grad()
def steps(case: Case) -> None:
    """A change over training depends on ctx.step alone: the same step gives the same bits, in any order of steps."""
    ids = case.inputs(2, min(9, case.dims.max_len))
    for training in (False, True):
        module = case.module(training=training)
        first = {step: output(module, ids, case.context(step=step)) for step in STEPS}
        for step in reversed(STEPS):
            require_equal(
                output(module, ids, case.context(step=step)),
                first[step],
                f"vectors at step {step}, again after other steps",
                cause="a counter on the module, so that resuming and evaluation see another embedding",
            )


def tied_weight(case: Case) -> None:
    """`weight`, where there is one, is (V, D), trainable, and made of parameters that forward reads."""
    module = case.module()
    weight = module.weight
    if weight is None:
        raise NotApplicable("it offers no weight to tie")
    expected = (case.dims.vocab_size, case.dims.width)
    if not isinstance(weight, Tensor):
        raise KitFailure("weight", expected="a tensor", got=type(weight).__name__)
    require(tuple(weight.shape) == expected, "shape of weight", expected=str(expected), got=str(tuple(weight.shape)))
    require(weight.requires_grad, "weight", expected="a tensor that trains", got="one without gradient")
    ids = case.inputs(2, min(9, case.dims.max_len))
    torch.autograd.backward(weight.square().sum())
    reached = {name for name, p in module.named_parameters() if p.grad is not None}
    module.zero_grad()
    acting: set[str] = set()
    for step in STEPS:
        torch.autograd.backward(output(module, ids, case.context(step=step)).square().sum())
        acting |= {name for name, p in module.named_parameters() if p.grad is not None and largest(p.grad) > 0}
    require(
        bool(reached & acting),
        "weight",
        expected="parameters that forward reads too",
        got="none of them",
        cause="a separate weight, which ties nothing",
    )


EMBEDDING_CHECKS: dict[str, CheckFunction] = {
    "builds": builds,
    "shapes": shapes,
    "dtypes": dtypes,
    "initial values": initial_values,
    "determinism": determinism,
    "positions": positions,
    "axes": everywhere,
    "documents": documents,
    "steps": steps,
    "memory": memory,
    "acts": acts,
    "gradients": gradients.gradients,
    "finite differences": gradients.finite_differences,
    "ablation": ablation,
    "signals": signals,
    "state": state,
    "tied weight": tied_weight,
    "compile": compiling.compiled,
    "export": compiling.exported,
}
