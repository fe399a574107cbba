"""How documents become numbers on the disk, and how those become tokens of a vocabulary."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs
import numpy as np

from lot import BadInput
from lot_tasks.text.tokenizers import UNKNOWN, Bytes, Characters, Tokenizer, TokenizerFile

CODE_POINTS = 0x110000
END = "<|end|>"
"""The token that ends a document where a tokenizer has none, as text."""
ENDS = ("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>")
"""Names of tokens that end a document in tokenizer files, tried in this order."""


@attrs.frozen(kw_only=True)
class Encoder:
    """What an index holds. identity: what its numbers depend on. dtype: of them. end: the number that ends a document.

    size: of numbers, `end` included. encode: texts to numbers.
    """

    identity: str
    end: int
    size: int
    encode: Callable[[Sequence[str]], list[np.ndarray]]

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.min_scalar_type(self.size - 1))


class Ended(Tokenizer):
    """A tokenizer with a token that ends documents: one of its own, or one more."""

    def __init__(self, inner: Tokenizer, end: int) -> None:
        own = end < len(inner.vocabulary)
        self.inner, self.end, self.own = inner, end, own
        self.vocabulary = inner.vocabulary if own else [*inner.vocabulary, END]
        self.unknown, self.lacking = inner.unknown, inner.lacking
        self.bos, self.eos, self.adds_bos = inner.bos, end, inner.adds_bos

    def tokens(self, text: str) -> np.ndarray:
        return self.inner.tokens(text)

    def decode(self, ids: Any) -> str:
        ids = np.asarray(ids, dtype=np.int64)
        if self.own:
            return self.inner.decode(ids)
        ends = np.flatnonzero(ids == self.end)
        return END.join(self.inner.decode(piece[piece != self.end]) for piece in np.split(ids, ends))

    def _piece(self, text: str, index: int) -> str:
        return self.inner._piece(text, index)


def ended(tokenizer: Tokenizer, end: str | None) -> Ended:
    """A tokenizer that ends documents by the token named `end`. Raises BadInput where it has none of that name."""
    if isinstance(tokenizer, TokenizerFile):
        ids = [tokenizer.id_of(name) for name in (ENDS if end is None else (end,))]
        own = next((found for found in ids if found is not None), None)
        if own is not None:
            return Ended(tokenizer, own)
    if end is not None:
        what = (
            "a token of the tokenizer file" if isinstance(tokenizer, TokenizerFile) else "null without a tokenizer file"
        )
        raise BadInput(where="end", expected=what, got=repr(end))
    return Ended(tokenizer, len(tokenizer.vocabulary))


def encoder_of(kind: str, tokenizer: Ended | None) -> Encoder:
    """The encoder of a kind of tokens: `bytes`, `characters`, or that of a tokenizer file, which is given."""
    if kind == "bytes":
        return Encoder(identity="bytes", end=256, size=257, encode=lambda texts: [_bytes(text) for text in texts])
    if kind == "characters":
        return Encoder(
            identity="code points",
            end=CODE_POINTS,
            size=CODE_POINTS + 1,
            encode=lambda texts: [_code_points(text) for text in texts],
        )
    assert tokenizer is not None
    assert isinstance(tokenizer.inner, TokenizerFile)
    return Encoder(
        identity=f"file-{tokenizer.inner.fingerprint}-end-{tokenizer.end}",
        end=tokenizer.end,
        size=len(tokenizer.vocabulary),
        encode=tokenizer.inner.tokens_of,
    )


def characters_of(counts: np.ndarray) -> Ended:
    """The characters that occur, by occurrences of each code point and of the end of a document."""
    found = np.flatnonzero(counts[:CODE_POINTS])
    return ended(Characters([*map(chr, found), UNKNOWN]), None)


def table_of(tokenizer: Ended) -> np.ndarray | None:
    """For characters: the token (CODE_POINTS + 1,) of each number of an index; None where these are the tokens."""
    characters = tokenizer.inner
    if not isinstance(characters, Characters):
        return None
    assert characters.unknown is not None
    table = np.full(CODE_POINTS + 1, characters.unknown, dtype=np.int32)
    table[[ord(character) for character in characters.vocabulary[:-1]]] = np.arange(len(characters.vocabulary) - 1)
    table[CODE_POINTS] = tokenizer.end
    return table


def byte_tokenizer() -> Ended:
    """Bytes, and the end of a document."""
    return ended(Bytes(), None)


def _bytes(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), dtype=np.uint8)


def _code_points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
