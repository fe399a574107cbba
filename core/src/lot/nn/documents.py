"""Documents that share rows: a module is given each as a sequence of its own, and what it gives is put back in its place.

This serves every mechanism, whatever it computes, and equals separate passes by construction. Documents are padded on the
right, in groups of like length, to bound what padding costs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from lot.contracts import Batch, Context
from lot.signals import SIGNALS, Shape

GRADE = 1.1
"""Documents whose lengths differ by less than this factor are always in one group."""
CALL = 1 / 16
"""What one more call of a mechanism costs, as a share of computing all tokens of the batch."""


class Layout(NamedTuple):
    """Documents as groups of right-padded rows; a slot is a place in them, all groups flattened and joined to S slots.

    shapes: (N, L) of each group. take: (S,) int64, the token of the flattened rows (B T) that each slot reads; what
    pads a document is its last token again. put: (B T,) int64, the slot of each token. filler: (S, 1) bool, True at what pads;
    outside: (B T, 1) bool, True at tokens of no document; None where there is none.
    """

    shapes: tuple[tuple[int, int], ...]
    take: Tensor
    put: Tensor
    filler: Tensor | None
    outside: Tensor | None

    def split(self, x: Tensor) -> list[Tensor]:
        """x (B, T, ...) as groups (N, L, ...)."""
        return _parts(_move(x.flatten(0, 1), self.take, self.put, None, self.outside), self)

    def join(self, parts: list[Tensor]) -> Tensor:
        """(B T, ...) in the order of the tokens, of groups (N, L, ...); 0 at tokens of no document."""
        slots = torch.cat([part.flatten(0, 1) for part in parts])
        return _move(slots, self.put, self.take, self.outside, self.filler)


class Documents:
    """Where the documents of packed rows (B, T) lie; made on the CPU, once for a batch.

    segments: (B, T) int64 on the device of the model, the number of each token's document among all, from 0; padding belongs
    to none, and has -1. positions: (B, T) int64, counted from 0 in each document. lengths: (N,) int64 tokens of each document,
    row by row, as numpy.
    """

    def __init__(self, segments: Tensor, padding: Tensor | None = None, device: torch.device | str = "cpu") -> None:
        """segments: (B, T) int64; a new number begins a new document. It is best on the CPU: a GPU would be waited for.

        padding: (B, T) bool or None. device: of the model.
        """
        _leave_uncompiled()
        numbers = segments.cpu().numpy()
        self.rows, self.row_length = numbers.shape
        told = np.ones(numbers.shape, dtype=bool) if padding is None else ~padding.cpu().numpy()
        if not told.any():
            told[0, 0] = True  # a module is called with something
        self._order = np.flatnonzero(told)  # (M,) tokens of documents, one document after another
        row, number = self._order // self.row_length, numbers.ravel()[self._order]
        new = np.ones(len(row), dtype=bool)
        new[1:] = (row[1:] != row[:-1]) | (number[1:] != number[:-1])
        self._first = np.flatnonzero(new)
        self.lengths: np.ndarray = np.diff(np.append(self._first, len(row)))
        facts = np.tile([[-1], [0]], numbers.size)
        facts[0, self._order] = np.cumsum(new) - 1
        facts[1, self._order] = np.arange(len(row)) - np.repeat(self._first, self.lengths)
        self.device = torch.device(device)
        self.segments, self.positions = self._send(facts.reshape(2, *numbers.shape)).unbind()
        self._layouts: dict[bool, Layout] = {}

    def layout(self, *, exact: bool = False) -> Layout:
        """The groups. exact: of documents of one length, which need no padding, so that there may be many."""
        if exact not in self._layouts:
            self._layouts[exact] = self._lay_out(by_length(self.lengths) if exact else by_cost(self.lengths))
        return self._layouts[exact]

    def layout_for(self, module: nn.Module) -> Layout:
        """The groups in which `apart` calls a module."""
        # What cannot see what follows is not changed by padding. Others need documents of one length.
        return self.layout(exact=not getattr(module, "causal", True) or getattr(module, "depends_on_length", False))

    def split(self, x: Tensor) -> list[tuple[Tensor, Tensor | None]]:
        """x (B, T, ...) as groups of documents (N, L, ...), each with its padding (N, L) bool, or None."""
        layout = self.layout()
        if layout.filler is None:
            return [(part, None) for part in layout.split(x)]
        return list(zip(layout.split(x), _parts(layout.filler[:, 0], layout), strict=True))

    def cost(self, modules: Iterable[nn.Module]) -> str:
        """What it costs to compute these documents apart, for people, in a line. modules: those that `apart` is asked to call."""
        called = [self.layout_for(one) for one in modules if not one.segments]
        ways = [
            _way(layout, int(self.lengths.sum()))
            for layout in (self.layout(), self.layout(exact=True))
            if any(layout is one for one in called)
        ]
        how = (
            f"computed {'; where outputs depend on the length, '.join(ways)}"
            if ways
            else "the model heeds them by itself"
        )
        each = f"{len(self.lengths) / self.rows:.3g} in a sequence, the longest {self.lengths.max():,} tokens"
        return f"documents apart: {each}; {how}"

    def _lay_out(self, groups: list[np.ndarray]) -> Layout:
        take, real = [], []
        slots = np.empty(len(self._order), dtype=np.int64)
        shapes, size = [], 0
        for group in groups:
            lengths = self.lengths[group][:, None]
            step = np.arange(lengths.max())
            there = step < lengths  # (N, L)
            place = self._first[group][:, None] + np.minimum(step, lengths - 1)
            slots[place[there]] = size + np.flatnonzero(there)
            take.append(self._order[place].ravel())
            real.append(there.ravel())
            shapes.append((len(group), len(step)))
            size += there.size
        put = np.zeros(self.rows * self.row_length, dtype=np.int64)
        put[self._order] = slots
        outside = np.ones(len(put), dtype=bool)
        outside[self._order] = False
        filler = ~np.concatenate(real)
        return Layout(
            tuple(shapes),
            self._send(np.concatenate(take)),
            self._send(put),
            self._send(filler[:, None]) if filler.any() else None,
            self._send(outside[:, None]) if outside.any() else None,
        )

    def _send(self, values: np.ndarray) -> Tensor:
        tensor = torch.from_numpy(values)
        if self.device.type == "cuda":
            tensor = tensor.pin_memory()
        return tensor.to(self.device, non_blocking=True)


def _way(layout: Layout, tokens: int) -> str:
    """How a module computes documents of so many tokens, in words."""
    count, computed = len(layout.shapes), sum(N * L for N, L in layout.shapes)
    groups = f"in {count} group{'s' if count > 1 else ''}"
    if layout.filler is None:
        return f"{groups} of one length, without padding"
    return f"{groups}, with {computed / tokens - 1:.0%} more tokens as padding"


def by_length(lengths: np.ndarray) -> list[np.ndarray]:
    """Documents (N,) int64 of each group, all of one length."""
    return [np.flatnonzero(lengths == length) for length in np.unique(lengths)[::-1]]


def by_cost(lengths: np.ndarray) -> list[np.ndarray]:
    """Documents (N,) int64 of each group, such that what is computed, with padding and `CALL` a group, is least."""
    order = np.argsort(-lengths, kind="stable")
    falling = lengths[order]
    grade = np.floor(np.log(falling) / np.log(GRADE))
    edges = np.concatenate([[0], np.flatnonzero(np.diff(grade)) + 1, [len(falling)]])
    longest = falling[edges[:-1]]
    cost, begin = np.zeros(len(edges)), np.zeros(len(edges), dtype=np.int64)
    for end in range(1, len(edges)):  # the best groups of the documents before an edge, from those before earlier ones
        costs = cost[:end] + longest[:end] * (edges[end] - edges[:end])
        begin[end] = np.argmin(costs)
        cost[end] = costs[begin[end]] + CALL * lengths.sum()
    groups, end = [], len(edges) - 1
    while end:
        groups.append(order[edges[begin[end]] : edges[end]])
        end = int(begin[end])
    return groups[::-1]


def context(batch: Batch, step: Tensor, **further: Any) -> Context:
    """The context of a pass over `batch`, as at `step` () int64. further: fields of `Context`, such as `start` and `group`."""
    if batch.segments is None:
        return Context(step=step, padding=batch.padding, **further)
    documents = Documents(batch.segments, batch.padding, batch.inputs.device)
    return with_documents(Context(step=step, padding=batch.padding, **further), documents)


def with_documents(ctx: Context, documents: Documents | None = None) -> Context:
    """`ctx` with `documents` and their `segments` and `positions`, for a model to call first; as it is where it has no segments.

    documents: where they are known. Else they are found in `ctx.segments`, for which a GPU is waited for.
    """
    if documents is None:
        if ctx.segments is None or ctx.documents is not None:
            return ctx
        documents = Documents(ctx.segments, ctx.padding, ctx.segments.device)
    return replace(ctx, segments=documents.segments, positions=documents.positions, documents=documents)


def first_rows(ctx: Context, count: int) -> Context:
    """The context of the first `count` rows of a batch, whose context is `ctx`."""
    padding, positions, segments = (
        None if part is None else part[:count] for part in (ctx.padding, ctx.positions, ctx.segments)
    )
    return replace(ctx, padding=padding, positions=positions, segments=segments, documents=None)


def apart(module: nn.Module, x: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
    """What an attention or an embedding gives for x (B, T, ...), each document of `ctx.segments` being a sequence of its own.

    y (B, T, D), 0 at tokens that are padding; and the signals. Those of the table `lot.signals` have the shapes that they have
    without documents: `attention` is 0 between documents. Other signals are left out, since nothing tells their shape.
    A module that says `segments`, and one whose context has none, is just called.
    """
    if ctx.segments is None or module.segments:
        return module(x, ctx)  # type: ignore[no-any-return]
    return _call(module, x, ctx)  # type: ignore[no-any-return]


def _apart(module: Any, x: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
    documents = with_documents(ctx).documents
    assert documents is not None
    layout = documents.layout_for(module)
    B, T = x.shape[:2]
    given = [module(part, Context(step=ctx.step)) for part in layout.split(x)]
    y = _unflatten(layout.join([y for y, _ in given]), (B, T))
    signals = {}
    for name in given[0][1]:
        value = _signal(name, [found[name] for _, found in given], layout, (B, T))
        if value is not None:
            signals[name] = value
    return y, signals


def _parts(slots: Tensor, layout: Layout) -> list[Tensor]:
    """The groups (N, L, ...) in slots (S, ...)."""
    parts = torch.split(slots, [N * L for N, L in layout.shapes])
    return [_unflatten(part, shape) for part, shape in zip(parts, layout.shapes, strict=True)]


def _unflatten(x: Tensor, shape: tuple[int, int]) -> Tensor:
    return x.view(*shape, *x.shape[1:])


_call: Any = _apart


def _leave_uncompiled() -> None:
    """Let compilers leave `_apart` alone: groups differ from batch to batch, and a compiled form would be made for each.

    Not at import, for it takes all of torch._dynamo; whoever compiles has that.
    """
    global _call
    if _call is _apart and "torch._dynamo" in sys.modules:
        _call = torch.compiler.disable(_apart)  # type: ignore[no-untyped-call]


class _Move(torch.autograd.Function):
    """Rows of x (S, ...) by number, 0 where there is none; the gradient goes the way back, by number too.

    Each row that counts comes from one row and goes to one, so that nothing is added up, in whatever order.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, there: Tensor, back: Tensor, none_there: Tensor | None, none_back: Tensor | None
    ) -> Tensor:
        ctx.save_for_backward(there, back, none_there, none_back)
        return _blank(x.index_select(0, there), none_there)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None, None]:
        there, back, none_there, none_back = ctx.saved_tensors
        return _move(gradient, back, there, none_back, none_there), None, None, None, None


def _move(x: Tensor, *numbers: Tensor | None) -> Tensor:
    return _Move.apply(x, *numbers)  # type: ignore[no-any-return, no-untyped-call]


def _blank(rows: Tensor, none: Tensor | None) -> Tensor:
    return rows if none is None else rows.masked_fill_(none.view(-1, *[1] * (rows.dim() - 1)), 0)


def _signal(name: str, parts: list[Tensor], layout: Layout, rows: tuple[int, int]) -> Tensor | None:
    """A signal of all groups in the shape that it has for rows (B, T); None where the table does not know its shape."""
    known = SIGNALS.get(name)
    shape = next((s for s in known.shapes if len(s) == parts[0].dim()), None) if known else None
    if shape is None:
        return None
    if shape.count("T") == 2:
        return _pairs(parts, shape, layout, rows)
    if "T" not in shape:
        return parts[0]
    axes = (shape.index("B"), shape.index("T"))
    found = layout.join([part.movedim(axes, (0, 1)) for part in parts])
    return _unflatten(found, rows).movedim((0, 1), axes)


def _pairs(parts: list[Tensor], shape: Shape, layout: Layout, rows: tuple[int, int]) -> Tensor:
    """A signal of pairs of tokens, 0 where they are of two documents."""
    B, T = rows
    first, second = (axis for axis, letter in enumerate(shape) if letter == "T")
    axes = (shape.index("B"), first, second)
    token = layout.take if layout.filler is None else layout.take.masked_fill(layout.filler[:, 0], B * T)
    column = torch.where(token == B * T, T, token % T)
    # One row and one column more take what stands at fillers.
    found = parts[0].new_zeros(B * T + 1, T + 1, *parts[0].movedim(axes, (0, 1, 2)).shape[3:])
    for part, i, j in zip(parts, _parts(token, layout), _parts(column, layout), strict=True):
        found = found.index_put((i[:, :, None], j[:, None, :]), part.movedim(axes, (0, 1, 2)))
    return _unflatten(found[:-1, :-1], (B, T)).movedim((0, 1, 2), axes)
