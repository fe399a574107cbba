"""Texts as token ids: encoded once, kept in the cache when that takes long, and mapped into memory from there."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import attrs
import numpy as np

from lot import Split, cache_folder
from lot_tasks.text.source import SPLITS, Source
from lot_tasks.text.tokenizers import FILE, Bytes, Characters, Tokenizer, TokenizerFile, Words

_FORMAT = "1"  # a change of what a tokenizer does must change it
_WORDS = "words-"
_KEPT = 1 << 22  # bytes of text from which on its tokens are kept in the cache


@attrs.frozen(kw_only=True)
class Tokens:
    """The token ids of each split, (n,) of the narrowest unsigned type, and the tokenizer that made them."""

    ids: dict[Split, np.ndarray]
    tokenizer: Tokenizer

    def counts(self) -> np.ndarray:
        """Occurrences (V,) int64 of each token in the training split."""
        total = np.zeros(len(self.tokenizer.vocabulary), dtype=np.int64)
        ids = self.ids["train"]
        for start in range(0, len(ids), 1 << 24):  # bincount would widen all of a mapped array at once
            total += np.bincount(ids[start : start + (1 << 24)], minlength=len(total))
        return total

    def unknown(self, split: Split) -> int:
        """Tokens of a split that stand for something the training split never holds."""
        unknown = self.tokenizer.unknown
        return 0 if unknown is None else int((self.ids[split] == unknown).sum())


def tokenize(source: Source, kind: str) -> Tokens:
    """The tokens of a text.

    kind: `bytes`; `characters`; `words-N`, of words that occur N times or more in the training split; or
    `file:PATH`, of a `tokenizers` JSON file. Vocabularies are those of the training split.
    """
    if kind == "bytes":
        return byte_tokens(source)
    if kind == "characters":
        return _kept(source, kind, lambda: Characters.of(source.parts["train"].text()), Characters)
    if kind.startswith(_WORDS):
        least = int(kind.removeprefix(_WORDS))
        return _kept(source, kind, lambda: Words.of(source.parts["train"].text(), least), Words)
    return tokenize_with(source, TokenizerFile.read(kind.removeprefix(FILE)))


def tokenize_with(source: Source, tokenizer: Tokenizer) -> Tokens:
    """The tokens of a text by a tokenizer that is there already, perhaps made from another text."""
    if isinstance(tokenizer, Bytes):
        return byte_tokens(source)
    if isinstance(tokenizer, TokenizerFile):
        return _kept(source, f"file-{tokenizer.fingerprint}", lambda: tokenizer, lambda _vocabulary: tokenizer)
    vocabulary = hashlib.sha256(json.dumps(list(tokenizer.vocabulary)).encode()).hexdigest()
    kind = f"{type(tokenizer).__name__.lower()}-of-{vocabulary}"
    return _kept(source, kind, lambda: tokenizer, lambda _vocabulary: tokenizer)


def words(min_count: int) -> str:
    """The kind of tokens that are words of `min_count` occurrences or more."""
    return f"{_WORDS}{min_count}"


def from_file(path: str) -> str:
    """The kind of tokens that the `tokenizers` JSON file at `path` describes."""
    return f"{FILE}{path}"


def byte_tokens(source: Source) -> Tokens:
    """The bytes themselves."""
    return Tokens(ids={split: part.data for split, part in source.parts.items()}, tokenizer=Bytes())


def _kept(
    source: Source, kind: str, make: Callable[[], Tokenizer], remake: Callable[[Sequence[str]], Tokenizer]
) -> Tokens:
    """The tokens of a text, from the cache where it is large. make: the tokenizer; remake: the same from its vocabulary."""
    if source.size < _KEPT:
        return _encode(source, make())
    key = hashlib.sha256(f"{_FORMAT} {source.fingerprint} {kind}".encode()).hexdigest()[:32]
    folder = cache_folder() / "tokens" / key
    kept = _load(folder, remake)
    if kept is None:
        kept = _encode(source, make())
        _save(folder, kept)
    return kept


def _encode(source: Source, tokenizer: Tokenizer) -> Tokens:
    kind = np.min_scalar_type(len(tokenizer.vocabulary) - 1)
    ids = {split: tokenizer.tokens(part.text()).astype(kind) for split, part in source.parts.items()}
    return Tokens(ids=ids, tokenizer=tokenizer)


def _load(folder: Path, remake: Callable[[Sequence[str]], Tokenizer]) -> Tokens | None:
    """What the cache holds, or None where it holds nothing or something damaged."""
    try:
        vocabulary = json.loads((folder / "vocabulary.json").read_text(encoding="utf-8"))
        ids: dict[Split, np.ndarray] = {
            split: np.load(folder / f"{split}.npy", mmap_mode="r", allow_pickle=False) for split in SPLITS
        }
    except (OSError, ValueError):
        return None
    return Tokens(ids=ids, tokenizer=remake(vocabulary))


def _save(folder: Path, tokens: Tokens) -> None:
    """Keep the tokens. A cache that cannot be written only costs the next run the time to encode again."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".new-"))
    except OSError:
        return
    try:
        for split, ids in tokens.ids.items():
            np.save(temporary / f"{split}.npy", ids, allow_pickle=False)
        vocabulary = json.dumps(list(tokens.tokenizer.vocabulary))
        (temporary / "vocabulary.json").write_text(vocabulary, encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)  # only a damaged one is there
        os.replace(temporary, folder)
    except OSError:
        shutil.rmtree(temporary, ignore_errors=True)
