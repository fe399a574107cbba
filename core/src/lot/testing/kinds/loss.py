"""The checks of a loss: its terms are finite, train something, and count what is scored only."""

from __future__ import annotations

import torch
from torch import Tensor

from lot.contracts import IGNORED, Batch, Context
from lot.testing.case import Case, CheckFunction
from lot.testing.draws import normal
from lot.testing.failure import (
    NotApplicable,
    largest,
    require,
    require_close,
    require_equal,
    require_finite,
)
from lot.testing.generators import untouched_generators
from lot.testing.kinds.loss_parts import adds_up, build_loss, parts, scored_counts
from lot.testing.specimens.loss_call import B, T, V, loss_calls, loss_terms, term_gradients
from lot.testing.specimens.samples import mapped


def builds(case: Case) -> None:
    """The factory gives a loss whose `needs` are all declared by its component."""
    loss = build_loss(case)
    case.require_declared(loss.needs)
    for signal in sorted(loss.needs | case.component.needs):
        if case.signal(signal) is None:
            raise NotApplicable(
                f"it needs the signal {signal!r}, whose shape lot.signals does not have; pass it as signals="
            )


def terms(case: Case) -> None:
    """Terms are finite named scalars with the same names in every call, on fresh inputs that stay as they were."""
    loss = build_loss(case)
    names: set[str] | None = None
    for padding in (False, True):
        for call in loss_calls(case, loss, padding=padding):
            kept = {name: value.detach().clone() for name, value in call.tensors}
            found = loss_terms(loss, call)
            require(
                names is None or names == found.keys(),
                "names of terms",
                expected=", ".join(sorted(names or ())),
                got=", ".join(sorted(found)),
                cause="terms that come and go; a term with nothing to penalize is 0",
            )
            names = set(found)
            for name, value in call.tensors:
                require_equal(value.detach(), kept[name], f"{name} after the loss", cause="an in-place operation")


def differentiable(case: Case) -> None:
    """Every term has a finite gradient with respect to logits and signals, and on some input one that is not zero."""
    loss = build_loss(case)
    without: set[str] = set()
    trains: set[str] = set()
    for call in loss_calls(case, loss):
        for name, term in loss_terms(loss, call).items():
            gradients = term_gradients(term, call) if term.requires_grad else {}
            for where, g in gradients.items():
                require_finite(g, f"gradient of {name} with respect to {where}", cause="a root, norm or angle at 0")
            (trains if any(largest(g) > 0 for g in gradients.values()) else without).add(name)
    dead = sorted(without - trains)
    require(
        not dead,
        "gradient of the terms",
        expected="one that is not zero on some input",
        got=f"none for {', '.join(dead)}",
        cause="a constant, or a detached term: it trains nothing",
    )


def needs(case: Case) -> None:
    """The signals in `needs` are enough, and the terms depend on each of them."""
    loss = build_loss(case)
    if not loss.needs:
        for call in loss_calls(case, loss, optional=False):
            loss_terms(loss, call)
        raise NotApplicable("it needs no signal")
    idle = set(loss.needs)
    for call in loss_calls(case, loss, optional=False):
        whole = loss_terms(loss, call)
        for name in sorted(idle):
            rest = {key: value for key, value in call.output.signals.items() if key != name}
            try:
                without = loss_terms(loss, call.replaced(signals=rest))
            except Exception:
                idle.discard(name)  # the loss cannot be computed without it
                continue
            if without.keys() != whole.keys() or any(
                float(whole[key].detach()) != float(without[key].detach()) for key in whole
            ):
                idle.discard(name)
    require(
        not idle,
        "needs",
        expected="signals that the terms depend on",
        got=f"{', '.join(sorted(idle))} beside them",
        cause="a signal that every step computes for nothing",
    )


def ignored(case: Case) -> None:
    """Logits of targets that are not scored change no term and get no gradient; with nothing to score, terms are finite."""
    loss = build_loss(case)
    for call in loss_calls(case, loss):
        unscored = (call.batch.targets == IGNORED)[..., None]
        other = torch.where(unscored, 10.0 * normal((B, T, V), "other"), call.output.logits.detach()).requires_grad_()
        before, after = loss_terms(loss, call), loss_terms(loss, call.replaced(logits=other))
        for name in before:
            require_close(
                after[name].detach(),
                before[name].detach(),
                1e-6,
                f"term {name} after logits of targets {IGNORED} were replaced",
                cause="an ignore_index that is missing, or a mean over all positions",
            )
            g = term_gradients(before[name], call).get("logits") if before[name].requires_grad else None
            if g is not None:
                require(
                    largest(g * unscored) == 0,
                    f"gradient of {name} with respect to logits of targets {IGNORED}",
                    expected="exactly 0",
                    got=f"{largest(g * unscored):.3g}",
                )
        nothing = call.replaced(batch=Batch(call.batch.inputs, torch.full_like(call.batch.targets, IGNORED)))
        loss_terms(loss, nothing)  # raises unless they are finite


def padding(case: Case) -> None:
    """Signals and logits of padding tokens change no term; for a batch that is nothing but padding, terms are finite."""
    loss = build_loss(case)
    for call in loss_calls(case, loss, padding=True):
        mask = call.batch.padding
        assert mask is not None
        logits = torch.where(mask[..., None], 10.0 * normal((B, T, V), "other"), call.output.logits)

        def replaced(name: str, value: Tensor, mask: Tensor = mask) -> Tensor:
            signal = case.signal(name)
            assert signal is not None
            letters = next(shape for shape in signal.shapes if len(shape) == value.dim())
            if "B" not in letters or "T" not in letters:
                return value
            shape = [1] * value.dim()
            shape[letters.index("B")], shape[letters.index("T")] = mask.shape
            return torch.where(mask.view(shape), normal(tuple(value.shape), "other", name), value)

        other = call.replaced(logits=logits, signals=mapped(call.output.signals, replaced))
        before, after = loss_terms(loss, call), loss_terms(loss, other)
        for name in before:
            require_close(
                after[name].detach(),
                before[name].detach(),
                1e-5,
                f"term {name} after everything at padding was replaced",
                scale=max(largest(before[name]), 1e-3),
                cause="a mean over all positions; batch.padding is (B, T), True at padding",
            )
        nothing = Batch(call.batch.inputs, torch.full_like(call.batch.targets, IGNORED), torch.ones_like(mask))
        found = loss.terms(call.output, nothing, Context(call.ctx.step, padding=nothing.padding))
        for name, value in found.items():
            require_finite(value, f"term {name} of a batch that is nothing but padding", cause="a mean over no tokens")


def determinism(case: Case) -> None:
    """The same call gives the same bits, by this object again or a fresh one, and draws from no global generator."""
    loss = build_loss(case)
    for call in loss_calls(case, loss):
        with untouched_generators("the loss"):
            first = loss_terms(loss, call)
        for which, other in (("the same", loss), ("a fresh", build_loss(case))):
            for name, value in loss_terms(other, call).items():
                require_equal(
                    value.detach(),
                    first[name].detach(),
                    f"term {name} when {which} loss is called again",
                    cause="state kept between calls, or a global generator",
                )


def precision(case: Case) -> None:
    """Logits in bfloat16 (autocast) give the terms that the same numbers in float32 give, and in float32."""
    loss = build_loss(case)
    for call in loss_calls(case, loss):
        narrow = call.output.logits.detach().bfloat16()
        wide = loss_terms(loss, call.replaced(logits=narrow.float()))
        for name, value in loss_terms(loss, call.replaced(logits=narrow)).items():
            what, cause = f"term {name} from bfloat16 logits", "a softmax in bfloat16; begin with logits.float()"
            idle = not value.detach().any()  # a term that finds no signal is 0, which is exact in any type
            require(
                idle or value.dtype != torch.bfloat16,
                what,
                expected="float32 or wider",
                got=str(value.dtype),
                cause=cause,
            )
            require_close(value.detach().float(), wide[name].detach(), 1e-3, what, cause=cause)


def replaces(case: Case) -> None:
    """A loss that replaces cross-entropy depends on logits and targets."""
    if "cross_entropy" not in case.component.replaces:
        raise NotApplicable("it does not replace cross-entropy")
    loss = build_loss(case)
    call = next(loss_calls(case, loss))
    targets = torch.where(call.batch.targets == IGNORED, IGNORED, (call.batch.targets + 1) % V)
    before, after = loss_terms(loss, call), loss_terms(loss, call.replaced(batch=Batch(call.batch.inputs, targets)))
    require(
        any(float(before[n].detach()) != float(after[n].detach()) for n in before),
        "terms after all targets changed",
        expected="other values, for it stands for cross-entropy",
        got="the same values",
    )


LOSS_CHECKS: dict[str, CheckFunction] = {
    "builds": builds,
    "terms": terms,
    "differentiable": differentiable,
    "needs": needs,
    "ignored targets": ignored,
    "padding": padding,
    "determinism": determinism,
    "precision": precision,
    "replaces": replaces,
    "parts": parts,
    "adds up": adds_up,
    "scored counts": scored_counts,
}
