"""Language modeling: the next token of a text, given the ones before it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view

from lot import IGNORED, BadInput, Batch, Split, Task
from lot.random import numpy_generator, permutation
from lot_tasks.batches import to_batch
from lot_tasks.config import TextConfig, TextLMConfig, WordLMConfig
from lot_tasks.metrics import language_metrics
from lot_tasks.text.source import SPLITS, Source, open_source
from lot_tasks.text.tokens import Tokens, byte_tokens, character_tokens, tokenize, word_tokens

if TYPE_CHECKING:
    import torchmetrics


class LanguageModeling(Task):
    """Windows of T tokens, each with the T tokens that follow one place later as targets.

    Training goes through the text again and again. Each time the text is cut into windows from another offset (below
    T), and the windows come in another order, without replacement: every window once. Validation and test windows
    follow one another, and every token but the first of the split is a target exactly once: the last window begins
    early enough to be full, and its targets that were scored before are left out.

    The vocabulary is made from the training split alone. What it lacks becomes the token `<unk>`, which training text
    of characters never holds: as a target it is scored like any other, so it is paid for rather than left out
    (`unknown` counts it).
    """

    primary = "loss"

    def __init__(self, tokens: Tokens, source: Source, seq_len: int, seed: int, bits: str | None = None) -> None:
        self.tokens = tokens
        self.seed = seed
        self.seq_len = seq_len
        self.origin = source.fingerprint
        self.vocab_size = len(tokens.tokenizer.vocabulary)
        self.token_counts = torch.from_numpy(tokens.counts())
        self._bits = bits
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
        # Offsets move a window by up to seq_len - 1 tokens, so that many are kept free at the end.
        self._windows = (len(tokens.ids["train"]) - seq_len) // seq_len

    def length(self, split: Split) -> int | None:
        return None if split == "train" else -(-(len(self.tokens.ids[split]) - 1) // self.seq_len)

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
        wanted = numbers * self.seq_len
        starts = np.minimum(wanted, len(self.tokens.ids[split]) - 1 - self.seq_len)
        windows = self._take(split, starts)
        again = np.arange(self.seq_len) < (wanted - starts)[:, None]  # targets of the window before
        return to_batch(windows[:, :-1], np.where(again, IGNORED, windows[:, 1:]), device)

    def metrics(self) -> torchmetrics.MetricCollection:
        return language_metrics(self._bits)

    def unknown(self, split: Split) -> int:
        """Tokens of a split that the vocabulary lacks."""
        return self.tokens.unknown(split)

    def decode(self, ids: Any) -> str:
        return self.tokens.tokenizer.decode(ids)

    def encode(self, text: str) -> list[int]:
        return self.tokens.tokenizer.encode(text)

    def example(self, rng: np.random.Generator) -> str:
        """A window of the training text, and the token that its last position asks for."""
        batch = self.batch("train", int(rng.integers(2**20)), 1)
        last = self.decode(batch.targets[0, -1:])
        return f"{self.decode(batch.inputs[0])}\n[every next token is asked for; after the last one: {last!r}]"

    def _train_starts(self, numbers: np.ndarray) -> np.ndarray:
        """First tokens of training windows by their number in the endless walk through the text."""
        passes, places = np.divmod(numbers, self._windows)
        starts = np.empty_like(numbers)
        for walk in np.unique(passes):
            now = passes == walk
            order = permutation(places[now], self._windows, self.seed, "task", "text", "order", int(walk))
            offset = numpy_generator(self.seed, "task", "text", "offset", int(walk)).integers(self.seq_len)
            starts[now] = order * self.seq_len + offset
        return starts

    def _take(self, split: Split, starts: np.ndarray) -> np.ndarray:
        """The windows (N, T + 1) int32 that begin at `starts`."""
        windows: np.ndarray = sliding_window_view(self.tokens.ids[split], self.seq_len + 1)[starts]
        return windows.astype(np.int32)


def char_lm(config: TextConfig, seed: int) -> LanguageModeling:
    """The next character; `bits_per_char`."""
    source = open_source(config)
    return LanguageModeling(character_tokens(source), source, config.seq_len, seed, bits="bits_per_char")


def bytes_lm(config: TextConfig, seed: int) -> LanguageModeling:
    """The next byte; `bits_per_byte`."""
    source = open_source(config)
    return LanguageModeling(byte_tokens(source), source, config.seq_len, seed, bits="bits_per_byte")


def word_lm(config: WordLMConfig, seed: int) -> LanguageModeling:
    """The next word; `perplexity` is that of words."""
    source = open_source(config)
    return LanguageModeling(word_tokens(source, config.min_count), source, config.seq_len, seed)


def text_lm(config: TextLMConfig, seed: int) -> LanguageModeling:
    """The next token of any tokenizer; `perplexity` is that of its tokens."""
    source = open_source(config)
    return LanguageModeling(tokenize(source, config.tokenizer), source, config.seq_len, seed)
