"""Language modeling on documents: the next token, over files of any number and size."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import torch

from lot import IGNORED, BadInput, Batch, Split, Task
from lot_tasks.batches import to_batch
from lot_tasks.metrics import language_metrics
from lot_tasks.stream.config import TextStreamConfig
from lot_tasks.stream.encoders import byte_tokenizer, characters_of, encoder_of, ended, table_of
from lot_tasks.stream.kept import Kept, Known, found_again, found_in, pack, recorded, unpack
from lot_tasks.stream.mixture import assign, shares_of
from lot_tasks.stream.opened import Opened, open_all, training_counts
from lot_tasks.stream.sources import check_stream, open_sources
from lot_tasks.text.kept import refuse_other_tokens
from lot_tasks.text.tokenizers import TokenizerFile
from lot_tasks.text.tokens import from_file
from lot_tasks.text.windows import held_out_starts, held_out_windows, training_starts

if TYPE_CHECKING:
    import torchmetrics

_HELD_OUT: tuple[Split, ...] = ("validation", "test")
_KINDS = {"byte": "bytes", "char": "characters"}


class TextStream(Task):
    """Windows of T tokens of documents that follow one another, each closed by a token that ends it.

    The content of a document decides to which split it belongs, so that equal documents, in whatever files they are, are in
    the same one. Training goes through each source again and again, as the other text tasks go through a text; in a mixture
    every source has its fixed share of each 1,024 sequences. Validation and test hold what every source gives them, one after
    another, up to `held_out_tokens`, and score every token but the first once.
    """

    primary = "loss"
    repeats = "documents repeat passages"

    def __init__(self, config: TextStreamConfig, seed: int) -> None:
        check_stream(config)
        kind = _KINDS.get(config.tokenizer) or from_file(config.tokenizer)
        tokenizer = None
        if kind == "bytes":
            tokenizer = byte_tokenizer()
        elif kind != "characters":
            tokenizer = ended(TokenizerFile.read(config.tokenizer), config.end)
        if config.end is not None and kind in _KINDS.values():
            raise BadInput(where="end", expected="null without a tokenizer file", got=repr(config.end))
        sources = open_sources(config)
        encoder = encoder_of(kind, tokenizer)
        opened = open_all(sources, encoder, config)
        counts = training_counts(opened, encoder)
        if tokenizer is None:
            tokenizer = characters_of(counts)
        table = table_of(tokenizer)
        if table is not None:
            counts = np.bincount(table, weights=counts, minlength=len(tokenizer.vocabulary)).astype(np.int64)
        kept = Kept(
            kind=kind,
            tokenizer=tokenizer,
            counts=counts,
            origin=opened.origin,
            sources=tuple(map(Known.of, sources)),
        )
        self._begin(config, seed, kept)
        self._take_in(opened)

    @classmethod
    def from_assets(
        cls, config: TextStreamConfig, seed: int, assets: Mapping[str, bytes], data: Path | None = None
    ) -> TextStream:
        other = None
        if data is not None:
            other = attrs.evolve(config, path=str(data), corpus=None, hub=None, mixture=None)
        if not assets:
            return cls(config if other is None else other, seed)
        kept = unpack(assets)
        if data is not None:
            other = found_in(data, config, kept) or other
        kind = _KINDS.get(config.tokenizer) or from_file(config.tokenizer)
        refuse_other_tokens(kind, kept.kind, kept.tokenizer.inner)
        task = cls.__new__(cls)
        task._begin(config, seed, kept)
        if other is not None:
            task._open(other)
        return task

    def assets(self) -> dict[str, bytes]:
        return pack(self._kept)

    def sources(self) -> dict[str, dict[str, Any]]:
        return recorded(self._config, self._kept)

    def _begin(self, config: TextStreamConfig, seed: int, kept: Kept) -> None:
        """All that needs no documents."""
        self._config, self.seed, self._kept = config, seed, kept
        self.segments = config.documents == "apart"
        self.tokenizer = kept.tokenizer
        self.bos, self.eos, self.adds_bos = self.tokenizer.bos, self.tokenizer.eos, self.tokenizer.adds_bos
        self.seq_len = config.seq_len
        self.vocab_size = len(kept.tokenizer.vocabulary)
        self.token_counts = torch.from_numpy(kept.counts)
        self.origin = kept.origin
        self._table = table_of(kept.tokenizer)
        self._shares = shares_of(list(config.sources.values()))
        self._opened: Opened | None = None

    def _open(self, config: TextStreamConfig) -> None:
        """Read the documents that `config` names from here on."""
        self._shares = shares_of(list(config.sources.values()))
        encoder = encoder_of(self._kept.kind, self.tokenizer)
        self._take_in(open_all(open_sources(config), encoder, config))

    def _take_in(self, opened: Opened) -> None:
        """Read from these from here on. Raises BadInput where they are too short."""
        for source, name in zip(opened.training, opened.names, strict=True):
            self._require("train", len(source), 2 * self.seq_len, name)
        for split in _HELD_OUT:
            self._require(split, len(opened.held_out[split]), self.seq_len + 1, ", ".join(opened.names))
        self.origin, self._opened = opened.origin, opened

    def _require(self, split: Split, tokens: int, need: int, name: str) -> None:
        if tokens < need:
            raise BadInput(
                f"{name}: the {split} split",
                where="seq_len",
                expected=f"at least {need} tokens in it for seq_len {self.seq_len}",
                got=tokens,
                fix="give more documents, a larger share of them (validation, test), a separator that tells them apart, "
                "or a smaller seq_len",
            )

    @property
    def opened(self) -> Opened:
        """The documents as tokens, opened now where that was not necessary before."""
        if self._opened is None:
            try:
                self._open(found_again(self._config, self._kept))
            except BadInput as error:
                raise error.under("task") from None
        assert self._opened is not None
        return self._opened

    def length(self, split: Split) -> int | None:
        return None if split == "train" else held_out_windows(self._size(split), self.seq_len)

    def _size(self, split: Split) -> int:
        """Tokens of validation or test that are scored, and one."""
        there, most = len(self.opened.held_out[split]), self._config.held_out_tokens
        return there if most is None else min(there, max(most, self.seq_len) + 1)

    def batch(self, split: Split, index: int, size: int, device: torch.device | str = "cpu") -> Batch:
        if index < 0 or size < 1:
            raise IndexError(f"{split} batch {index} of size {size}: expected index >= 0 and size >= 1")
        numbers = np.arange(index * size, (index + 1) * size)
        if split == "train":
            windows = self._training(numbers)
            return self._to_batch(windows, windows[:, 1:], device)
        count = self.length(split)
        assert count is not None
        numbers = numbers[numbers < count]
        if not len(numbers):
            raise IndexError(f"{split} batch {index} of size {size}: the split has {count} windows")
        starts, again = held_out_starts(numbers, self._size(split), self.seq_len)
        windows = self._as_tokens(self.opened.held_out[split].take(starts, self.seq_len + 1))
        return self._to_batch(windows, np.where(again, IGNORED, windows[:, 1:]), device)

    def _to_batch(self, windows: np.ndarray, targets: np.ndarray, device: torch.device | str) -> Batch:
        """windows (N, T + 1) and targets (N, T) as a batch. A document begins with the token that ended the one before."""
        inputs = windows[:, :-1]
        segments = np.cumsum(inputs == self.tokenizer.end, axis=1, dtype=np.int64) if self.segments else None
        return to_batch(inputs, targets, device, segments)

    def _training(self, numbers: np.ndarray) -> np.ndarray:
        """Training windows (N, T + 1) by number."""
        chosen, own = assign(numbers, self._shares, self.seed)
        windows, fixed = np.empty((len(numbers), self.seq_len + 1), dtype=np.int64), self._config.windows == "fixed"
        for source, tokens in enumerate(self.opened.training):
            now = chosen == source
            if now.any():
                starts = training_starts(
                    own[now], len(tokens), self.seq_len, self.seed, "task", "stream", source, fixed=fixed
                )
                windows[now] = tokens.take(starts, self.seq_len + 1)
        return self._as_tokens(windows)

    def _as_tokens(self, numbers: np.ndarray) -> np.ndarray:
        tokens: np.ndarray = numbers if self._table is None else self._table[numbers]
        return tokens.astype(np.int32)

    def metrics(self) -> torchmetrics.MetricCollection:
        return language_metrics()

    def decode(self, ids: Any) -> str:
        return self.tokenizer.decode(ids)

    def encode(self, text: str) -> list[int]:
        return self.tokenizer.encode(text)

    def example(self, rng: np.random.Generator) -> str:
        """A window of the training documents, and the token that its last position asks for."""
        batch = self.batch("train", int(rng.integers(2**20)), 1)
        last = self.decode(batch.targets[0, -1:])
        return f"{self.decode(batch.inputs[0])}\n[every next token is asked for; after the last one: {last!r}]"
