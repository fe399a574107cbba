"""A batch that comes in parts: the sums and counts of a loss add up."""

from __future__ import annotations

import torch
from torch import Tensor

from lot.contracts import IGNORED, Batch, Context, Loss, Output
from lot.testing.case import Case
from lot.testing.failure import (
    KitFailure,
    NotApplicable,
    largest,
    require_close,
)
from lot.testing.specimens.loss_call import B, LossCall, T, loss_calls, loss_terms, term_gradients
from lot.testing.specimens.read_signals import ReadSignals
from lot.testing.specimens.samples import mapped


def build_loss(case: Case) -> Loss:
    loss = case.build()
    if not isinstance(loss, Loss):
        raise KitFailure("factory", expected="a lot.Loss", got=type(loss).__name__)
    return loss


def parts(case: Case) -> None:
    """A loss with `per_target` gives sums that add up over parts of the sequences."""
    loss = build_loss(case)
    if not loss.per_target:
        raise NotApplicable("it needs whole sequences, so that train.context_parallel cannot be used with it")
    call = next(loss_calls(case, loss))
    call.batch.targets[0, T // 4 : T // 2] = (
        IGNORED  # unequal numbers of scored targets: in the rows, and in the parts of a row
    )
    whole = loss(call.output, call.batch, call.ctx)
    summed = dict.fromkeys(whole, 0.0)
    for first, last in ((0, T // 3), (T // 3, T)):
        part = Batch(call.batch.inputs[:, first:last], call.batch.targets[:, first:last])
        ctx = Context(call.ctx.step, start=first)
        found = loss(Output(call.output.logits[:, first:last], ReadSignals({})), part, ctx)
        for name, value in found.items():
            summed[name] += float(value.detach())
    for name, value in whole.items():
        require_close(
            torch.tensor(summed[name]),
            value.detach().float(),
            1e-5,
            f"sum of the term {name} over two parts of the sequences, against the whole",
            cause="a mean over all positions, a signal, or a neighbor that the part lacks: then per_target is wrong",
        )


def adds_up(case: Case) -> None:
    """Sums and counts over two parts of a batch add up to the mean over the whole, whatever is scored in each part."""
    loss = build_loss(case)
    for call in loss_calls(case, loss, padding=True):
        targets = call.batch.targets.clone()
        targets[0, 1:] = IGNORED  # a part in which little is scored must weigh little
        batch = Batch(call.batch.inputs, targets, call.batch.padding)
        halves = [_rows(case, call.replaced(batch=batch), rows) for rows in (slice(0, 1), slice(1, B))]
        whole = _means([(loss(call.output, batch, call.ctx), loss.counts(batch), batch)])
        parted = _means(
            [(loss(part.output, part.batch, part.ctx), loss.counts(part.batch), part.batch) for part in halves]
        )
        for name, value in whole.items():
            require_close(
                parted[name],
                value,
                1e-5,
                f"term {name}: sums over counts of two parts of a batch, against the whole batch",
                scale=max(largest(value), 1e-3),
                cause="a mean is returned where the sum over the batch is asked for; what is no mean belongs in `finish`",
            )


def scored_counts(case: Case) -> None:
    """The number of scored targets may change: sequences in which nothing is scored add nothing, nor do earlier batches."""
    loss = build_loss(case)
    for padded in (True, False):
        for call in loss_calls(case, loss, padding=padded):
            targets = call.batch.targets.clone()
            targets[-1] = IGNORED
            padding = call.batch.padding
            if padding is not None:
                padding = padding.clone()
                padding[-1] = True
            whole = LossCall(
                call.output, Batch(call.batch.inputs, targets, padding), Context(call.ctx.step, padding=padding)
            )
            less = _rows(case, whole, slice(0, B - 1))
            before, after = loss_terms(loss, less), loss_terms(loss, whole)
            for name, value in before.items():
                # What a term takes from signals counts tokens, scored or not, unless they are padding.
                term = after[name]
                read = term_gradients(term, whole) if term.requires_grad else {}
                if padded or not read.keys() - {"logits"}:
                    _require_same_term(
                        after[name],
                        value,
                        f"term {name} after a sequence in which nothing is scored joined the batch",
                        "a sum that is divided by all tokens, or by a fixed number",
                    )
            for name, value in loss_terms(build_loss(case), less).items():
                _require_same_term(
                    loss_terms(loss, less)[name],
                    value,
                    f"term {name} after batches with other numbers of scored targets",
                    "a number that is kept from an earlier batch",
                )


def _require_same_term(got: Tensor, expected: Tensor, what: str, cause: str) -> None:
    scale = max(largest(expected), 1e-3)
    require_close(got.detach(), expected.detach(), 1e-5, what, scale=scale, cause=cause)


def _rows(case: Case, call: LossCall, rows: slice) -> LossCall:
    """The call for some of the sequences."""

    def cut(name: str, value: Tensor) -> Tensor:
        signal = case.signal(name)
        assert signal is not None
        letters = next(shape for shape in signal.shapes if len(shape) == value.dim())
        index = tuple(rows if letter == "B" else slice(None) for letter in letters)
        return value[index]

    padding = None if call.batch.padding is None else call.batch.padding[rows]
    output = Output(call.output.logits[rows], ReadSignals(mapped(call.output.signals, cut)))
    batch = Batch(call.batch.inputs[rows], call.batch.targets[rows], padding)
    return LossCall(output, batch, Context(call.ctx.step, padding=padding))


def _means(parts: list[tuple[dict[str, Tensor], dict[str, Tensor], Batch]]) -> dict[str, Tensor]:
    """Each term's sums of all parts over its counts of all parts."""
    means = {}
    for name in parts[0][0]:
        total = torch.stack([sums[name].detach() for sums, _, _ in parts]).sum(0)
        count = torch.stack([counts.get(name, batch.scored()) for _, counts, batch in parts]).sum()
        means[name] = total / count.clamp(min=1)
    return means
