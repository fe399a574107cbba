"""Texts as tensors, since a record holds nothing else."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from lot import Task
from lot.figure import literal


def token_names(task: Task, ids: Iterable[int]) -> list[str]:
    """What `task` calls each token, with blanks and control characters made visible."""
    return [_visible(task.decode(torch.tensor([token]))) for token in ids]


def _visible(text: str) -> str:
    text = text.replace(" ", "␣").replace("\n", "↵").replace("\t", "⇥")
    return "".join(c if c.isprintable() else "�" for c in text) or "∅"


def pack(texts: Iterable[str]) -> Tensor:
    """(n, bytes) uint8: each text in UTF-8, filled up with zeros."""
    rows = [text.encode() for text in texts]
    packed = torch.zeros(len(rows), max(1, *(len(row) for row in rows)) if rows else 1, dtype=torch.uint8)
    for own, row in zip(packed, rows, strict=True):
        own[: len(row)] = torch.tensor(list(row), dtype=torch.uint8)
    return packed


def unpack(packed: Tensor) -> list[str]:
    """The texts that `pack` was given, as labels."""
    return [literal(bytes(row.tolist()).rstrip(b"\0").decode(errors="replace")) for row in packed]
