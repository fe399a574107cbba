"""Options of `text_stream`. Imports no torch, since every command reads them."""

from __future__ import annotations

import math
from typing import Literal

import attrs

from lot import BadInput, option
from lot_tasks.config import LONGEST, training_windows

CORPUS, HUB = "corpus:", "hub:"
"""How a name in `mixture` begins that is not a path."""


@attrs.frozen(kw_only=True)
class TextStreamConfig:
    """Options of language modeling on documents."""

    path: str | None = option(
        None,
        help=(
            "a file, a folder or a glob of .txt, .jsonl and .parquet files (.txt.gz and .jsonl.gz too), relative to the folder "
            "that LOT is called in"
        ),
    )
    corpus: Literal["pydoc", "fineweb_edu", "openwebtext", "wikitext103"] | None = option(
        None,
        help=(
            "the corpus to read; null: pydoc, unless another source is given. pydoc: the help topics of Python, which need no "
            "network; the others come from the Hugging Face hub and need the package datasets"
        ),
    )
    hub: str | None = option(
        None,
        help=(
            "a dataset of the Hugging Face hub, as OWNER/NAME, OWNER/NAME:CONFIG or OWNER/NAME:CONFIG@REVISION; its split train "
            "is read"
        ),
    )
    mixture: dict[str, float] | None = option(
        None,
        help=(
            "several sources and their weights, in place of one: by path, corpus:NAME or hub:OWNER/NAME. Of every 1,024 training "
            "sequences each gives its share, rounded"
        ),
    )
    field: str = option("text", help="the field of a JSON line, or the column of a table, that holds the text")
    separator: str | None = option(
        None,
        help=(
            'what stands between two documents of a plain text file; null: an empty line; "\\n": each line is a document; "": the '
            "whole file is one"
        ),
    )
    tokenizer: str = option(
        "byte",
        help=(
            "char, byte, or a JSON file of Hugging Face's tokenizers library, relative to the folder that LOT is called in"
        ),
    )
    end: str | None = option(
        None,
        help=(
            "the token that ends a document, as a tokenizer file names it; null: <|endoftext|>, <|end_of_text|>, </s> or <eos> "
            "where the file has one of them, else a token of its own"
        ),
    )
    documents: Literal["joined", "apart"] = option(
        "joined",
        help=(
            "joined: attention and states go on from a document to the next; apart: each document, or the part of it that is in "
            "the window, is computed as a sequence of its own, which begins with the token that ends the one before"
        ),
    )
    validation: float = option(0.05, gt=0, lt=0.5, help="share of documents for validation, chosen by their content")
    test: float = option(0.05, gt=0, lt=0.5, help="share of documents for test, chosen by their content")
    held_out_tokens: int | None = option(
        1_000_000,
        ge=1,
        le=1 << 40,
        help="largest number of tokens of validation, and of test; null: all that are there",
    )
    max_documents: int | None = option(
        None, ge=1, le=1 << 40, help="number of documents of each source that are read, from its beginning; null: all"
    )
    seq_len: int = option(128, ge=1, le=LONGEST, help="T: tokens per window")
    windows: Literal["shifted", "fixed"] = training_windows()

    def __attrs_post_init__(self) -> None:
        named = {name: getattr(self, name) for name in ("path", "corpus", "hub", "mixture") if getattr(self, name)}
        if len(named) > 1:
            second = list(named)[1]
            raise BadInput(
                where=second,
                expected=f"none where {next(iter(named))} is given",
                got=repr(named[second]),
                fix="mixture takes several sources with their weights",
            )
        for name, weight in (self.mixture or {}).items():
            if not (math.isfinite(weight) and weight > 0):
                raise BadInput(where=f"mixture.{name}", expected="a weight above 0", got=repr(weight))
        if not named:
            object.__setattr__(self, "corpus", "pydoc")  # so that what is recorded and shown is what is read

    @property
    def sources(self) -> dict[str, float]:
        """Every source as `mixture` names it, with its weight."""
        if self.corpus is not None:
            return {CORPUS + self.corpus: 1.0}
        if self.hub is not None:
            return {HUB + self.hub: 1.0}
        return {self.path: 1.0} if self.path is not None else dict(self.mixture or {})
