"""Decoding with a cache equals the full forward, in float64: what is generated is what the model was trained for."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from lot.contracts import Attention, Model
from lot.testing.case import Case, as_attention, output
from lot.testing.failure import NotApplicable, largest, require, require_close, require_equal
from lot.testing.properties.padding import example_padding, honors_padding
from lot.testing.specimens.samples import token_ids
from lot.testing.specimens.small_decoder import small_decoder

TOLERANCE = 1e-5
"""Relative to the largest output: far above float64 rounding, since a cache may keep features in float32."""
LENGTH = 24


class _Stream:
    """A batch of sequences that are decoded piece by piece."""

    def __init__(self, case: Case, module: Attention, x: Tensor) -> None:
        self.case, self.module, self.x, self.position = case, module, x, 0
        self.pieces: list[Tensor] = []
        self.cache: Any = module.init_cache(x.shape[0], x.device, x.dtype)  # type: ignore[operator]

    def take(self, n: int, padding: Tensor | None = None) -> None:
        """Feed the next n tokens: one by `decode`, several by `prefill`."""
        piece = self.x[:, self.position : self.position + n]
        ctx = self.case.context(start=self.position, padding=padding)
        feed: Any = self.module.decode if n == 1 else self.module.prefill
        result = feed(piece, ctx, self.cache)
        name = "decode" if n == 1 else "prefill"
        require(
            isinstance(result, tuple) and len(result) == 2,
            name,
            expected="a pair (y, cache)",
            got=type(result).__name__,
        )
        y, self.cache = result
        expected = (self.x.shape[0], n, self.x.shape[2])
        require(tuple(y.shape) == expected, f"shape of y from {name}", expected=str(expected), got=str(tuple(y.shape)))
        require(y.dtype == self.x.dtype, f"dtype of y from {name}", expected=str(self.x.dtype), got=str(y.dtype))
        self.pieces.append(y)
        self.position += n

    @property
    def y(self) -> Tensor:
        return torch.cat(self.pieces, dim=1)


def _decoding_module(case: Case, **dims: Any) -> Attention:
    module = as_attention(case.module(dtype=torch.float64, **dims))
    if not module.can_decode():
        raise NotApplicable("it offers no cache")
    for name in ("init_cache", "prefill", "decode"):
        require(
            callable(getattr(module, name, None)),
            f"{name} of a module whose can_decode() is True",
            expected="a method",
            got="none",
        )
    return module


@torch.no_grad()
def decoding(case: Case) -> None:
    """Prefill and decode equal the forward: in pieces, up to max_len, with two caches in turn, and through a decoder."""
    module = _decoding_module(case)
    T = min(LENGTH, case.dims.max_len)
    n = max(2, T // 2)
    _require_forward(case, module, T, "from an empty cache", (1,) * T)
    _require_forward(case, module, T, f"after a prefill of {n}", (n, *(1,) * (T - n)))
    _require_forward(
        case,
        module,
        T,
        "after two prefills with one token between them",
        (3, 1, n, *(1,) * (T - n - 4)) if n + 4 < T else (T,),
    )
    L = case.dims.max_len
    if L > 2:
        _require_forward(case, module, L, f"up to the {L} tokens of max_len", (L - 1, 1))
    if module.rotary:
        _require_forward(
            case, _decoding_module(case, positions="rotary"), T, "with rotary positions", (n, *(1,) * (T - n))
        )
    _require_separate_caches(case, module, T)
    _require_decoder(case)


def _require_forward(case: Case, module: Attention, T: int, how: str, pieces: Sequence[int]) -> None:
    x = case.inputs(3, T, "decode", dtype=torch.float64)
    y = output(module, x, case.context())
    stream = _Stream(case, module, x)
    for n in pieces:
        stream.take(n)
    for t in range(T):
        require_close(
            stream.y[:, t],
            y[:, t],
            TOLERANCE,
            f"output at position {t} of {T}, decoding {how}",
            scale=largest(y),
            cause="a state that is one token early or late, ctx.start left out, a feature that the cache lacks, or a "
            "prefill without a causal mask",
        )


def _require_separate_caches(case: Case, module: Attention, T: int) -> None:
    streams = [_Stream(case, module, case.inputs(2, T, "turn", i, dtype=torch.float64)) for i in range(2)]
    alone = []
    for i in range(2):
        stream = _Stream(case, module, case.inputs(2, T, "turn", i, dtype=torch.float64))
        for _ in range(T):
            stream.take(1)
        alone.append(stream.y)
    for _ in range(T):
        for stream in streams:
            stream.take(1)
    for stream, y in zip(streams, alone, strict=True):
        require_equal(
            stream.y,
            y,
            "output of decoding two batches in turn, each with its own cache",
            cause="state kept on the module instead of in the cache",
        )


def _require_decoder(case: Case) -> None:
    """A decoder of two layers gives the same logits with caches as in a full pass, up to max_len, whatever the batch."""
    model = small_decoder(case.component, case.options, replace(case.dims, causal=True, token_counts=None)).double()
    model = model.to(case.device).eval()
    L = case.dims.max_len
    tolerance = max([TOLERANCE, *(attention.tolerance for attention in model.attentions.values())])
    for batch in (1, 4):
        require_decoding(
            case,
            model,
            token_ids(case.dims, batch, L).to(case.device),
            tolerance,
            f"logits of a decoder of two layers, decoding {batch} sequences of {L} tokens in pieces",
            cause="a cache that layers share, or one that is changed in place where a new one is returned",
        )


def require_decoding(case: Case, model: Model, ids: Tensor, tolerance: float, what: str, *, cause: str) -> None:
    """Logits with caches equal those of one pass: the first half of `ids` (B, T) at once, then more, the last two singly."""
    T = ids.shape[1]
    full = model(ids, case.context()).logits
    caches = model.init_cache(len(ids), ids.device, torch.float64)
    found = []
    for start, end in itertools.pairwise(sorted({0, T // 2, max(0, T - 2), T - 1, T})):
        logits, caches = model.extend(ids[:, start:end], case.context(start=start), caches)
        found.append(logits)
    require_close(torch.cat(found, dim=1), full, tolerance, what, scale=largest(full), cause=cause)


@torch.no_grad()
def decoding_with_padding(case: Case) -> None:
    """Decoding after a prompt with padding equals the forward with that padding, at every token that is no padding."""
    module = _decoding_module(case)
    if not honors_padding(case, module):
        raise NotApplicable("it ignores ctx.padding")
    T = min(LENGTH, case.dims.max_len)
    padding = example_padding(T, case.device)
    n = T - T // 4
    padding[:, n:] = False  # the tokens that are decoded are no padding
    x = case.inputs(3, T, "decode", dtype=torch.float64)
    y = output(module, x, case.context(padding=padding))
    stream = _Stream(case, module, x)
    stream.take(n, padding[:, :n])
    for _ in range(T - n):
        stream.take(1)
    require_close(
        stream.y[~padding],
        y[~padding],
        TOLERANCE,
        "output of decoding after a prompt with padding",
        scale=largest(y),
        cause="padding that the cache forgets",
    )
