"""The checks of a loss."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lot.contracts import IGNORED, Batch, Context, Loss, Output
from lot.testing.case import Case, CheckFunction, normal
from lot.testing.failure import (
    KitFailure,
    NotApplicable,
    largest,
    require,
    require_close,
    require_equal,
    require_finite,
)
from lot.testing.generators import untouched_generators
from lot.testing.specimens.samples import SPREADS, leaves, mapped, sample_batch, sample_signals, variants

B, T, V = 3, 12, 23


class Signals(dict[str, Any]):
    """Signals that know what the loss asked for: reading one that it does not need is told as such."""

    def __missing__(self, name: str) -> Any:
        raise KitFailure(
            f"reading the signal {name!r}",
            expected=f"only those in needs ({', '.join(sorted(self)) or 'none'})",
            got=name,
            cause="a `needs` that forgets a signal; an optional one is read with .get()",
        )


@dataclass
class Sample:
    """What a loss is called with."""

    output: Output
    batch: Batch
    ctx: Context

    @property
    def tensors(self) -> list[tuple[str, Tensor]]:
        """Everything that a loss may depend on, by name."""
        return [("logits", self.output.logits), *leaves(self.output.signals)]


def _loss(case: Case) -> Loss:
    loss = case.build()
    if not isinstance(loss, Loss):
        raise KitFailure("factory", expected="a lot.Loss", got=type(loss).__name__)
    return loss


def _samples(case: Case, loss: Loss, *, padding: bool = False, optional: bool = True) -> Iterator[Sample]:
    """Calls with every variant of the signals' shapes and several spreads of phases.

    optional: also calls with all signals that the component declares, of which a term may take what it finds.
    """
    sizes = {**case.sizes, "B": B, "T": T, "V": V}
    batch = sample_batch(V, B, T, padding=padding)
    ctx = Context(torch.tensor(3), padding=batch.padding)
    for names in dict.fromkeys((loss.needs, loss.needs | case.component.needs if optional else loss.needs)):
        for variant in range(variants(case, names)):
            for spread in SPREADS:
                logits = normal((B, T, V), "logits").requires_grad_()
                signals = sample_signals(case, names, sizes, variant=variant, spread=spread)
                yield Sample(Output(logits, Signals(signals)), batch, ctx)


def _with(
    sample: Sample, *, logits: Tensor | None = None, signals: dict[str, Any] | None = None, batch: Batch | None = None
) -> Sample:
    output = Output(
        sample.output.logits if logits is None else logits,
        Signals(sample.output.signals if signals is None else signals),
    )
    return Sample(output, sample.batch if batch is None else batch, sample.ctx)


def _terms(loss: Loss, sample: Sample) -> dict[str, Tensor]:
    terms = loss(sample.output, sample.batch, sample.ctx)
    require(
        isinstance(terms, dict) and len(terms) > 0,
        "what a loss returns",
        expected="a dict of named terms",
        got=type(terms).__name__,
    )
    for name, value in terms.items():
        require(
            isinstance(name, str) and isinstance(value, Tensor),
            "terms",
            expected="tensors by name",
            got=f"{name!r}: {type(value).__name__}",
        )
        require(
            value.shape == () and value.is_floating_point(),
            f"term {name}",
            expected="a scalar tensor",
            got=f"shape {tuple(value.shape)}, {value.dtype}",
        )
        require_finite(value, f"term {name}")
    return terms


def builds(case: Case) -> None:
    """The factory gives a loss whose needs its component declares."""
    loss = _loss(case)
    undeclared = sorted(loss.needs - case.component.needs)
    require(
        not undeclared,
        "needs of the loss",
        expected=f"those of its component ({', '.join(sorted(case.component.needs)) or 'none'})",
        got=", ".join(undeclared),
        cause="Component(needs=...) that forgets a signal",
    )
    for signal in sorted(loss.needs | case.component.needs):
        if case.signal(signal) is None:
            raise NotApplicable(
                f"needs the signal {signal!r}, whose shape lot.signals does not know; hand it over as signals="
            )


def terms(case: Case) -> None:
    """Terms are finite named scalars with the same names in every call, on fresh inputs that stay as they were."""
    loss = _loss(case)
    names: set[str] | None = None
    for padding in (False, True):
        for sample in _samples(case, loss, padding=padding):
            kept = {name: value.detach().clone() for name, value in sample.tensors}
            found = _terms(loss, sample)
            require(
                names is None or names == found.keys(),
                "names of terms",
                expected=", ".join(sorted(names or ())),
                got=", ".join(sorted(found)),
                cause="terms that come and go; a term that sleeps is 0",
            )
            names = set(found)
            for name, value in sample.tensors:
                require_equal(value.detach(), kept[name], f"{name} after the loss", cause="an in-place operation")


def differentiable(case: Case) -> None:
    """Every term has a finite gradient, and on some input one that is not zero, to logits or a needed signal."""
    loss = _loss(case)
    asleep: set[str] = set()
    awake: set[str] = set()
    for sample in _samples(case, loss):
        for name, term in _terms(loss, sample).items():
            gradients = _gradients(term, sample) if term.requires_grad else {}
            for where, g in gradients.items():
                require_finite(g, f"gradient of {name} to {where}", cause="a root, norm or angle at 0")
            (awake if any(largest(g) > 0 for g in gradients.values()) else asleep).add(name)
    dead = sorted(asleep - awake)
    require(
        not dead,
        "gradient of the terms",
        expected="one that is not zero on some input",
        got=f"none for {', '.join(dead)}",
        cause="a constant, or a detached term: it trains nothing",
    )


def _gradients(term: Tensor, sample: Sample) -> dict[str, Tensor]:
    names, tensors = zip(*sample.tensors, strict=True)
    found = torch.autograd.grad(term, tensors, allow_unused=True, retain_graph=True)
    return {name: g for name, g in zip(names, found, strict=True) if g is not None}


def needs(case: Case) -> None:
    """The signals in `needs` are enough, and each of them is needed."""
    loss = _loss(case)
    if not loss.needs:
        for sample in _samples(case, loss, optional=False):
            _terms(loss, sample)
        raise NotApplicable("needs no signal")
    idle = set(loss.needs)
    for sample in _samples(case, loss, optional=False):
        whole = _terms(loss, sample)
        for name in sorted(idle):
            rest = {key: value for key, value in sample.output.signals.items() if key != name}
            try:
                without = _terms(loss, _with(sample, signals=rest))
            except Exception:
                idle.discard(name)  # it cannot do without
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
        cause="a signal that is computed for nothing in every step",
    )


def ignored(case: Case) -> None:
    """Logits where nothing is scored change no term and get no gradient; a batch with nothing to score stays finite."""
    loss = _loss(case)
    for sample in _samples(case, loss):
        unscored = (sample.batch.targets == IGNORED)[..., None]
        other = torch.where(unscored, 10.0 * normal((B, T, V), "other"), sample.output.logits.detach()).requires_grad_()
        before, after = _terms(loss, sample), _terms(loss, _with(sample, logits=other))
        for name in before:
            require_close(
                after[name].detach(),
                before[name].detach(),
                1e-6,
                f"term {name} after logits of targets {IGNORED} were replaced",
                cause="an ignore_index that is missing, or a mean over all positions",
            )
            g = _gradients(before[name], sample).get("logits") if before[name].requires_grad else None
            if g is not None:
                require(
                    largest(g * unscored) == 0,
                    f"gradient of {name} to logits of targets {IGNORED}",
                    expected="exactly 0",
                    got=f"{largest(g * unscored):.3g}",
                )
        nothing = _with(sample, batch=Batch(sample.batch.inputs, torch.full_like(sample.batch.targets, IGNORED)))
        _terms(loss, nothing)  # finite, or it raises


def padding(case: Case) -> None:
    """Signals and logits of padding tokens change no term; a batch of padding stays finite."""
    loss = _loss(case)
    for sample in _samples(case, loss, padding=True):
        mask = sample.batch.padding
        assert mask is not None
        logits = torch.where(mask[..., None], 10.0 * normal((B, T, V), "other"), sample.output.logits)

        def replaced(name: str, value: Tensor, mask: Tensor = mask) -> Tensor:
            signal = case.signal(name)
            assert signal is not None
            letters = next(shape for shape in signal.shapes if len(shape) == value.dim())
            if "B" not in letters or "T" not in letters:
                return value
            shape = [1] * value.dim()
            shape[letters.index("B")], shape[letters.index("T")] = mask.shape
            return torch.where(mask.view(shape), normal(tuple(value.shape), "other", name), value)

        other = _with(sample, logits=logits, signals=mapped(sample.output.signals, replaced))
        before, after = _terms(loss, sample), _terms(loss, other)
        for name in before:
            require_close(
                after[name].detach(),
                before[name].detach(),
                1e-5,
                f"term {name} after everything at padding was replaced",
                scale=max(largest(before[name]), 1e-3),
                cause="a mean over all positions; batch.padding is (B, T), True at padding",
            )
        nothing = Batch(sample.batch.inputs, torch.full_like(sample.batch.targets, IGNORED), torch.ones_like(mask))
        found = loss(sample.output, nothing, Context(sample.ctx.step, padding=nothing.padding))
        for name, value in found.items():
            require_finite(value, f"term {name} of a batch that is nothing but padding", cause="a mean over no tokens")


def determinism(case: Case) -> None:
    """The same call gives the same bits, by this object again or a fresh one, and draws from no global generator."""
    loss = _loss(case)
    for sample in _samples(case, loss):
        with untouched_generators("the loss"):
            first = _terms(loss, sample)
        for which, other in (("the same", loss), ("a fresh", _loss(case))):
            for name, value in _terms(other, sample).items():
                require_equal(
                    value.detach(),
                    first[name].detach(),
                    f"term {name} of {which} loss, called again",
                    cause="state kept between calls, or a global generator",
                )


def precision(case: Case) -> None:
    """Logits in bfloat16 (autocast) give what the same numbers in float32 give, in float32."""
    loss = _loss(case)
    for sample in _samples(case, loss):
        narrow = sample.output.logits.detach().bfloat16()
        wide = _terms(loss, _with(sample, logits=narrow.float()))
        for name, value in _terms(loss, _with(sample, logits=narrow)).items():
            what, cause = f"term {name} from bfloat16 logits", "a softmax in bfloat16; begin with logits.float()"
            idle = not value.detach().any()  # 0, as of a term that takes what it finds, is exact in any type
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
        raise NotApplicable("replaces no cross-entropy")
    loss = _loss(case)
    sample = next(_samples(case, loss))
    targets = torch.where(sample.batch.targets == IGNORED, IGNORED, (sample.batch.targets + 1) % V)
    before, after = _terms(loss, sample), _terms(loss, _with(sample, batch=Batch(sample.batch.inputs, targets)))
    require(
        any(float(before[n].detach()) != float(after[n].detach()) for n in before),
        "terms after all targets changed",
        expected="a difference: it stands for cross-entropy",
        got="none",
    )


def parts(case: Case) -> None:
    """A loss that is a mean over targets is the mean of its values for parts of the sequences, by how many each scores."""
    loss = _loss(case)
    if not loss.per_target:
        raise NotApplicable("needs whole sequences: it cannot be trained with train.context_parallel")
    sample = next(_samples(case, loss))
    sample.batch.targets[0, T // 4 : T // 2] = IGNORED  # rows score unequally, and so do the parts of a row
    scored = int((sample.batch.targets != IGNORED).sum())
    whole, summed = _terms(loss, sample), dict.fromkeys(_terms(loss, sample), 0.0)
    for first, last in ((0, T // 3), (T // 3, T)):
        part = Batch(sample.batch.inputs[:, first:last], sample.batch.targets[:, first:last])
        ctx = Context(sample.ctx.step, start=first)
        found = loss(Output(sample.output.logits[:, first:last], Signals({})), part, ctx)
        for name, value in found.items():
            summed[name] += float(value.detach()) * int((part.targets != IGNORED).sum()) / scored
    for name, value in whole.items():
        require_close(
            torch.tensor(summed[name]),
            value.detach().float(),
            1e-5,
            f"term {name} of two parts together, against the whole",
            cause="a mean over all positions, a signal, or neighbors that the part lacks: per_target is wrong",
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
}
