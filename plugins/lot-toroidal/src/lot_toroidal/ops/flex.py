"""Toroidal attention on FlexAttention: bias and mask inside the kernel, blocks that no query sees skipped."""

from __future__ import annotations

import functools
import importlib.util
import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from lot import BadInput
from lot_toroidal.ops.torus import Torus

BLOCK = 128
"""Tokens of a block of the mask: FlexAttention's own default."""
MIN_WIDTH = 16
"""Narrowest head that the GPU kernel takes; narrower platters are padded with zeros."""
SETTINGS = 64
"""Kernels compiled at most: one for each torus, length, batch size, dtype, and with or without gradients."""
AVAILABLE = importlib.util.find_spec("triton") is not None
"""Whether the compiler that writes FlexAttention's GPU kernels is here."""


def attend_flex(
    q: Tensor, k: Tensor, v: Tensor, torus: Torus, *, padding: Tensor | None = None, mask: Tensor | None = None
) -> Tensor:
    """As `reference.dense_attention`. Raises BadInput on a CPU when gradients are wanted: FlexAttention has none there."""
    _check_trainable(q, k, v)
    Tq, D, p = q.shape[2:]
    Tk = k.shape[2]
    # A compiler traces through a cache, with a warning; it keeps what it has traced anyway.
    tracing = torch.compiler.is_compiling()
    score_mod, blocks = (_modifications if tracing else _kept_modifications)(torus, Tq, Tk, q.device)
    if padding is not None or mask is not None:
        blocks = _with_batch_mask(blocks, torus, Tq, Tk, padding, mask)
    flat = [x.flatten(2, 3) for x in (q, k, v)]
    if p < MIN_WIDTH and q.device.type != "cpu":
        flat = [F.pad(x, (0, MIN_WIDTH - p)) for x in flat]
    call: Any = flex_attention if tracing else _compiled
    y: Tensor = call(*flat, score_mod=score_mod, block_mask=blocks, scale=1 / math.sqrt(p))
    return y[..., :p].reshape(*q.shape[:2], Tq, D, p)


def _check_trainable(*inputs: Tensor) -> None:
    if inputs[0].device.type == "cpu" and torch.is_grad_enabled() and any(x.requires_grad for x in inputs):
        raise BadInput(
            where="attn.backend",
            expected="auto or sdpa to train on a CPU (FlexAttention has no backward there)",
            got="flex",
        )


@functools.cache
def _kernel() -> Callable[..., Any]:
    return torch.compile(flex_attention, dynamic=False, fullgraph=True)


def _compiled(*arguments: Any, **options: Any) -> Tensor:
    """`flex_attention`, compiled for these arguments.

    Past the compiler's own limit, which a few depths and lengths reach, it would run uncompiled, and store (T D)^2 scores.
    """
    with torch._dynamo.config.patch(recompile_limit=SETTINGS):
        return _kernel()(*arguments, **options)  # type: ignore[no-any-return]


def _modifications(
    torus: Torus, q_len: int, k_len: int, device: torch.device
) -> tuple[Callable[..., Tensor] | None, BlockMask]:
    """What is added to a score, and the blocks that are computed."""
    return _score_mod(torus, k_len - q_len, device), block_mask(torus, q_len, k_len, device)


@functools.lru_cache(maxsize=SETTINGS)
def _kept_modifications(
    torus: Torus, q_len: int, k_len: int, device: torch.device
) -> tuple[Callable[..., Tensor] | None, BlockMask]:
    with torch.inference_mode(False):  # made while generating, it may serve while training
        return _modifications(torus, q_len, k_len, device)


def _score_mod(torus: Torus, offset: int, device: torch.device) -> Callable[..., Tensor] | None:
    """score - lambda delta, from the flat indices of query and key."""
    if torus.strength == 0:
        return None
    N, D = torus.period, torus.depth
    # Tensors, since a compiler that has seen two values of a number makes a symbol of it, which FlexAttention refuses.
    per_step = torch.full((), torus.strength / N, device=device)
    per_platter = torch.full((), torus.strength / D, device=device)
    half = torch.full((), N / 2, device=device)

    def score_mod(score: Tensor, b: Tensor, h: Tensor, query: Tensor, key: Tensor) -> Tensor:
        # Made once for a row or a column of a tile, so that a pair of tokens costs five operations on floats; integers, or a
        # division that rounds down, would take half as many instructions again as the whole tile and spill registers.
        i, j = (torch.div(x, D, rounding_mode="trunc") for x in (query, key))
        k, l = (query - i * D).float(), (key - j * D).float()  # noqa: E741
        i, j = (i + offset).float(), j.float()
        # min(s, N - s) = N/2 - |s - N/2|, where s = i - j is never negative under a causal mask.
        beyond = (i - half) - j if torus.causal else torch.abs(i - j) - half
        distance = per_step * (half - torch.abs(beyond))
        if D > 1:
            distance = distance + per_platter * torch.abs(k - l)
        return score - distance

    return score_mod


def _mask_mod(torus: Torus, offset: int) -> Callable[..., Tensor]:
    """Whether a query sees a key, from their flat indices."""
    D = torus.depth

    def mask_mod(b: Tensor, h: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return torus.visible(key // D - (query // D + offset))

    return mask_mod


def block_mask(torus: Torus, q_len: int, k_len: int, device: torch.device) -> BlockMask:
    """The blocks of `BLOCK` x `BLOCK` tokens that hold anything visible, made without the T x T mask.

    A block holds every lag between its extremes, so that running counts of visible lags tell whether any, and whether all,
    of its pairs are visible.
    """
    D, offset = torus.depth, k_len - q_len
    lags = torch.arange(1 - k_len, k_len, device=device)
    counts = F.pad(torus.visible(lags).cumsum(0), (1, 0))  # (2 Tk,)
    query_first, query_last = _block_ends(q_len * D, D, device)
    key_first, key_last = _block_ends(k_len * D, D, device)
    lowest = key_first[None] - (query_last + offset)[:, None]  # (Q, K) lags
    highest = key_last[None] - (query_first + offset)[:, None]
    seen = counts[highest + k_len] - counts[lowest + k_len - 1]
    whole = seen == highest - lowest + 1
    partial = (seen > 0) & ~whole
    return BlockMask.from_kv_blocks(
        *_ordered(partial),
        *_ordered(whole),
        BLOCK_SIZE=BLOCK,
        mask_mod=_mask_mod(torus, offset),
        seq_lengths=(q_len * D, k_len * D),
    )


def _with_batch_mask(
    blocks: BlockMask, torus: Torus, q_len: int, k_len: int, padding: Tensor | None, mask: Tensor | None
) -> BlockMask:
    """The same blocks, none of them whole any more, with the masks of the batch; a position still sees itself."""
    D, offset = torus.depth, k_len - q_len
    geometric = _mask_mod(torus, offset)

    def mask_mod(b: Tensor, h: Tensor, query: Tensor, key: Tensor) -> Tensor:
        i, j = query // D, key // D
        seen = geometric(b, h, query, key)
        if padding is not None:
            seen = seen & ~padding[b, j]
        if mask is not None:
            seen = seen & mask[b, i, j]
        return seen | (i + offset == j)

    # One table for the whole batch (the kernel hands `b` to the mask all the same): it reads tables as if they were stored
    # without gaps, which one expanded over the batch is not.
    return BlockMask.from_kv_blocks(
        *_ordered(blocks.to_dense().bool()[0, 0]),
        BLOCK_SIZE=BLOCK,
        mask_mod=mask_mod,
        seq_lengths=(q_len * D, k_len * D),
    )


def _block_ends(tokens: int, depth: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """First and last position in each block of flat tokens."""
    first = torch.arange(0, tokens, BLOCK, device=device)
    return first // depth, (first + BLOCK - 1).clamp(max=tokens - 1) // depth


def _ordered(dense: Tensor) -> tuple[Tensor, Tensor]:
    """A bool (Q, K) as FlexAttention stores it: how many in each row (1, 1, Q), and the columns, chosen ones first (1, 1, Q, K)."""
    order = dense.int().argsort(dim=-1, descending=True, stable=True).int()
    return dense.sum(-1, dtype=torch.int32)[None, None], order[None, None]
