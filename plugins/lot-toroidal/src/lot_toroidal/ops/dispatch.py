"""Toroidal attention in the form that suits the device and the mask: which form runs, and why."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from lot import BadInput
from lot_toroidal.ops import flex
from lot_toroidal.ops.tiles import attend_plain, attend_tiles, attend_whole
from lot_toroidal.ops.torus import Torus

FLEX_FROM = 1024
"""Tokens (positions x platters) from which FlexAttention is worth its compilation on a GPU that has it. An estimate."""


def check_backend(backend: str, torus: Torus, dropout: float) -> None:
    """Raises BadInput when `backend` can never serve this torus."""
    if backend == "flash" and not torus.plain:
        raise BadInput(
            where="backend",
            expected="auto, sdpa or flex for " + _obstacle(torus),
            got="flash",
            fix="FlashAttention takes neither a bias nor such a mask",
        )
    if backend == "flex" and dropout > 0:
        raise BadInput(
            where="backend",
            expected="auto or sdpa with model.dropout > 0 (FlexAttention cannot drop weights)",
            got="flex",
        )


def _obstacle(torus: Torus) -> str:
    if torus.strength:
        return f"lambda = {torus.strength:g}"
    if torus.window is not None:
        return f"window = {torus.window}"
    return f"a causal mask over {torus.depth} platters"


def choose(
    backend: str, torus: Torus, device: str, positions: int, *, masked: bool = False, dropout: float = 0.0
) -> tuple[str, str]:
    """The form that runs ("plain", "flash", "tiles" or "flex") and the reason in words.

    device: its type. positions: of the queries. masked: whether the batch has padding, a mask of its own, or earlier keys.
    """
    if torus.plain and not masked and backend != "flex":
        return ("flash" if backend == "flash" else "plain"), "lambda = 0 and no window: nothing to add to a score"
    possible = device == "cuda" and flex.AVAILABLE
    if backend == "flex" and possible:
        return "flex", "asked for"
    needed = "a mask of the batch" if torus.plain else _obstacle(torus)
    if backend == "flex":
        needed = "FlexAttention trains on GPUs only"
    elif backend == "auto" and possible and dropout == 0 and positions * torus.depth >= FLEX_FROM:
        return "flex", f"{needed}: inside the kernel"
    return "tiles", f"{needed}: chunk by chunk, from a table of lags"


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    torus: Torus,
    *,
    padding: Tensor | None = None,
    mask: Tensor | None = None,
    dropout: float = 0.0,
    backend: str = "auto",
    chunk: int | None = None,
    recompute: bool = False,
) -> Tensor:
    """As `reference.dense_attention`, in linear memory, in the form that `choose` names.

    q (B, H, Tq, D, p), k and v (B, H, Tk, D, p), queries being the last Tq of Tk positions; padding (B, Tk) bool, True where
    a key is padding; mask (B, Tq, Tk) bool, True where a query may look. A position always sees itself.
    """
    if torch.compiler.is_exporting():
        return attend_whole(q, k, v, torus, padding=padding, mask=mask)
    masked = padding is not None or mask is not None or q.shape[2] != k.shape[2]
    form, _ = choose(backend, torus, q.device.type, q.shape[2], masked=masked, dropout=dropout)
    if form == "flex":
        return flex.attend_flex(q, k, v, torus, padding=padding, mask=mask)
    if form == "tiles":
        return attend_tiles(
            q, k, v, torus, padding=padding, mask=mask, dropout=dropout, chunk=chunk, recompute=recompute
        )
    if form == "flash":
        if q.is_cuda and q.dtype not in (torch.bfloat16, torch.float16):
            raise BadInput(
                where="attn.backend", expected="train.precision=bf16 for flash on a GPU", got=f"flash with {q.dtype}"
            )
        with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
            return attend_plain(q, k, v, causal=torus.causal, dropout=dropout)
    return attend_plain(q, k, v, causal=torus.causal, dropout=dropout)
