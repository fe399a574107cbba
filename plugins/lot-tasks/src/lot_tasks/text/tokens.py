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
from lot_tasks.text.tokenizers import Bytes, Characters, Tokenizer, TokenizerFile, Words

_FORMAT = "1"  # a change of what a tokenizer does must change it
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


def byte_tokens(source: Source) -> Tokens:
    """The bytes themselves."""
    return Tokens(ids={split: part.data for split, part in source.parts.items()}, tokenizer=Bytes())


def character_tokens(source: Source) -> Tokens:
    """Characters; the vocabulary is that of the training split."""
    return _tokens(source, "characters", lambda: Characters.of(source.parts["train"].text()), Characters)


def word_tokens(source: Source, min_count: int) -> Tokens:
    """Words; the vocabulary is that of the training split, without words rarer than `min_count` there."""
    return _tokens(source, f"words-{min_count}", lambda: Words.of(source.parts["train"].text(), min_count), Words)


def tokenize(source: Source, tokenizer: str) -> Tokens:
    """The tokens of `char`, `byte`, `word` (of two occurrences or more) or a `tokenizers` JSON file."""
    if tokenizer == "char":
        return character_tokens(source)
    if tokenizer == "byte":
        return byte_tokens(source)
    if tokenizer == "word":
        return word_tokens(source, min_count=2)
    file = TokenizerFile(tokenizer)
    return _tokens(source, f"file-{file.fingerprint}", lambda: file, lambda _vocabulary: file)


def _tokens(
    source: Source, kind: str, make: Callable[[], Tokenizer], remake: Callable[[Sequence[str]], Tokenizer]
) -> Tokens:
    """make: the tokenizer from the training text; remake: the same from its vocabulary."""
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
