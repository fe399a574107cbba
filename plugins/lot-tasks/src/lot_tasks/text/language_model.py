"""Language modeling: the next token of a text, given the ones before it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view

from lot import IGNORED, BadInput, Batch, Split, Task
from lot_tasks.batches import to_batch
from lot_tasks.config import TextConfig, TextLMConfig, WordLMConfig
from lot_tasks.metrics import language_metrics
from lot_tasks.text.kept import Kept, Text, pack, refuse_other_tokens, unpack
from lot_tasks.text.source import SPLITS, Source, open_source
from lot_tasks.text.tokens import Tokens, from_file, tokenize, tokenize_with, words
from lot_tasks.text.windows import held_out_starts, held_out_windows, training_starts

if TYPE_CHECKING:
    import torchmetrics


_TOPICS_REPEAT = (
    "the help topics of Python repeat sections of each other; in Python 3.11, 23 % of the characters of test, and 3 % of "
    "validation, stand in passages of 64 characters or more that training has too"
)


class LanguageModeling(Task):
    """Windows of T tokens, each with the T tokens that follow one place later as targets.

    Training goes through the text again and again. Each time the text is cut into windows from another offset (below
    T; always from its start where `windows` is fixed), and the windows come in another order, without replacement: every
    window once. Validation and test windows follow one another, and every token but the first of the split is a target
    exactly once: the last window begins early enough to be full, and its targets that were scored before are left out.

    The vocabulary is made from the training split alone. What it lacks becomes the token `<unk>`, which training text
    of characters never holds: as a target it is scored like any other, so it is paid for rather than left out
    (`unknown` counts it).
    """

    primary = "loss"
    repeats = "a text repeats passages"
    bits: str | None = None
    """What the loss in bits per token is called, where it has a name."""

    def __init__(self, config: TextConfig, seed: int) -> None:
        source = open_source(config)
        tokens = tokenize(source, self.kind(config))
        kept = Kept(
            kind=self.kind(config),
            tokenizer=tokens.tokenizer,
            counts=tokens.counts(),
            text=Text.of(config, source),
        )
        self._begin(config, seed, kept)
        self._take_in(source, tokens)

    @classmethod
    def from_assets(
        cls, config: TextConfig, seed: int, assets: Mapping[str, bytes], data: Path | None = None
    ) -> LanguageModeling:
        other = None if data is None else attrs.evolve(config, path=str(data), corpus=None)
        if not assets:  # of a run that was made before runs kept any
            return cls(config if other is None else other, seed)
        kept = unpack(assets)
        refuse_other_tokens(cls.kind(config), kept.kind, kept.tokenizer)
        task = cls.__new__(cls)
        task._begin(config, seed, kept)
        if other is not None:
            source = open_source(other)
            task._take_in(source, tokenize_with(source, kept.tokenizer))
        return task

    @staticmethod
    def kind(config: Any) -> str:
        """The kind of tokens, as `tokenize` takes it."""
        raise NotImplementedError

    def assets(self) -> dict[str, bytes]:
        return pack(self._kept)

    def _begin(self, config: TextConfig, seed: int, kept: Kept) -> None:
        """All that needs no text."""
        self._config, self.seed, self._kept = config, seed, kept
        self.tokenizer = kept.tokenizer
        self.bos, self.eos, self.adds_bos = self.tokenizer.bos, self.tokenizer.eos, self.tokenizer.adds_bos
        self.seq_len = config.seq_len
        self.vocab_size = len(kept.tokenizer.vocabulary)
        self.token_counts = torch.from_numpy(kept.counts)
        self.origin = kept.text.sha256
        self._tokens: Tokens | None = None
        if config.corpus == "pydoc":
            self.repeats = _TOPICS_REPEAT

    def _take_in(self, source: Source, tokens: Tokens) -> None:
        """Read from this text from here on. Raises BadInput where it is too short."""
        seq_len = self.seq_len
        for split in SPLITS:
            need = 2 * seq_len if split == "train" else seq_len + 1
            if len(tokens.ids[split]) < need:
                part = source.parts[split]
                raise BadInput(
                    f"{part.file}: bytes {part.offset} to {part.offset + len(part.data)} are the {split} split",
                    where="seq_len",
                    expected=f"at least {need} tokens in it for seq_len {seq_len}",
                    got=len(tokens.ids[split]),
                    fix="give a longer text or a smaller seq_len",
                )
        self.origin, self._tokens = source.fingerprint, tokens

    @property
    def tokens(self) -> Tokens:
        """The text as tokens, read now where that was not necessary before."""
        if self._tokens is None:
            try:
                source = self._kept.text.open(self._config)
                self._take_in(source, tokenize_with(source, self.tokenizer))
            except BadInput as error:
                raise error.under("task") from None
        assert self._tokens is not None
        return self._tokens

    def length(self, split: Split) -> int | None:
        return None if split == "train" else held_out_windows(len(self.tokens.ids[split]), self.seq_len)

    def batch(self, split: Split, index: int, size: int, device: torch.device | str = "cpu") -> Batch:
        if index < 0 or size < 1:
            raise IndexError(f"{split} batch {index} of size {size}: expected index >= 0 and size >= 1")
        numbers = np.arange(index * size, (index + 1) * size)
        if split == "train":
            windows = self._take(split, self._train_starts(numbers))
            return to_batch(windows[:, :-1], windows[:, 1:], device)
        count = self.length(split)
        assert count is not None
        numbers = numbers[numbers < count]
        if not len(numbers):
            raise IndexError(f"{split} batch {index} of size {size}: the split has {count} windows")
        starts, again = held_out_starts(numbers, len(self.tokens.ids[split]), self.seq_len)
        windows = self._take(split, starts)
        return to_batch(windows[:, :-1], np.where(again, IGNORED, windows[:, 1:]), device)

    def metrics(self) -> torchmetrics.MetricCollection:
        return language_metrics(self.bits)

    def unknown(self, split: Split) -> int:
        """Tokens of a split that the vocabulary lacks."""
        return self.tokens.unknown(split)

    def decode(self, ids: Any) -> str:
        return self.tokenizer.decode(ids)

    def encode(self, text: str) -> list[int]:
        return self.tokenizer.encode(text)

    def example(self, rng: np.random.Generator) -> str:
        """A window of the training text, and the token that its last position asks for."""
        batch = self.batch("train", int(rng.integers(2**20)), 1)
        last = self.decode(batch.targets[0, -1:])
        return f"{self.decode(batch.inputs[0])}\n[every next token is asked for; after the last one: {last!r}]"

    def _train_starts(self, numbers: np.ndarray) -> np.ndarray:
        """First tokens of training windows by their number in the endless walk through the text."""
        fixed = self._config.windows == "fixed"
        return training_starts(
            numbers, len(self.tokens.ids["train"]), self.seq_len, self.seed, "task", "text", fixed=fixed
        )

    def _take(self, split: Split, starts: np.ndarray) -> np.ndarray:
        """The windows (N, T + 1) int32 that begin at `starts`."""
        windows: np.ndarray = sliding_window_view(self.tokens.ids[split], self.seq_len + 1)[starts]
        return windows.astype(np.int32)


class CharLM(LanguageModeling):
    """The next character; `bits_per_char`."""

    bits = "bits_per_char"

    @staticmethod
    def kind(config: TextConfig) -> str:
        return "characters"


class BytesLM(LanguageModeling):
    """The next byte; `bits_per_byte`."""

    bits = "bits_per_byte"

    @staticmethod
    def kind(config: TextConfig) -> str:
        return "bytes"


class WordLM(LanguageModeling):
    """The next word; `perplexity` is that of words."""

    @staticmethod
    def kind(config: WordLMConfig) -> str:
        return words(config.min_count)


class TextLM(LanguageModeling):
    """The next token of any tokenizer; `perplexity` is that of its tokens."""

    @staticmethod
    def kind(config: TextLMConfig) -> str:
        named = {"char": "characters", "byte": "bytes", "word": words(2)}
        return named.get(config.tokenizer) or from_file(config.tokenizer)
