"""Options of every task. Imports no torch, since every command reads them."""

from __future__ import annotations

from typing import Any, Literal

import attrs

from lot import BadInput, option

LARGEST_VOCABULARY = 1 << 24
LONGEST = 1 << 20
"""Tokens of the largest vocabulary and of the longest sequence; more would only fail later, and less clearly."""


def _training(default: int | None) -> Any:
    return option(default, ge=1, le=1 << 30, help="number of training examples; null: every example is new")


def training_windows() -> Any:
    """The option of how a text is cut for training."""
    return option(
        "shifted",
        help="how each pass through the text cuts it for training. shifted: from another offset; fixed: into the same windows, "
        "so that what is kept of a window serves again",
    )


def _held_out(default: int, split: str) -> Any:
    return option(default, ge=1, le=1 << 30, help=f"number of {split} examples")


@attrs.frozen(kw_only=True)
class Examples:
    """How many examples the splits of a synthetic task have."""

    train_examples: int | None = _training(None)
    validation_examples: int = _held_out(1024, "validation")
    test_examples: int = _held_out(2048, "test")


@attrs.frozen(kw_only=True)
class CopyReverseConfig(Examples):
    """Options of copy-reverse."""

    vocab_size: int = option(
        64, ge=5, le=LARGEST_VOCABULARY, help="V: token 0 is the delimiter, 1 to V - 1 are symbols"
    )
    seq_len: int = option(
        32, ge=2, le=LONGEST, help="T, even: the symbols, the delimiter, and the symbols backwards without the last one"
    )
    score: Literal["answer", "all"] = option(
        "answer", help="which targets are scored. answer: the symbols backwards; all: every next token, as published"
    )

    def __attrs_post_init__(self) -> None:
        if self.seq_len % 2:
            raise BadInput(where="seq_len", expected="an even number", got=self.seq_len)


@attrs.frozen(kw_only=True)
class PeriodicConfig(Examples):
    """Options of periodic patterns."""

    vocab_size: int = option(64, ge=4, le=LARGEST_VOCABULARY, help="V: number of tokens")
    seq_len: int = option(128, ge=1, le=LONGEST, help="T")
    period: int = option(32, ge=1, help="length of the pattern, in tokens")
    noise: float = option(0.0, ge=0, le=1, help="probability that a token is redrawn at random")
    score: Literal["repeats", "all"] = option(
        "repeats",
        help="which targets are scored. repeats: from the second period on; all: also the first, which cannot be predicted",
    )

    def __attrs_post_init__(self) -> None:
        if self.period > self.seq_len:
            raise BadInput(where="period", expected=f"at most seq_len ({self.seq_len})", got=self.period)


@attrs.frozen(kw_only=True)
class SinusoidalConfig(Examples):
    """Options of quantized sinusoids."""

    vocab_size: int = option(64, ge=8, le=LARGEST_VOCABULARY, help="V: number of levels of the signal")
    seq_len: int = option(128, ge=8, le=LONGEST, help="T")
    components: int = option(3, ge=1, le=1024, help="number of sines in a signal")
    min_period: float = option(16.0, ge=2, help="shortest period of a sine, in tokens")
    max_period: float = option(128.0, ge=2, help="longest period of a sine, in tokens")

    def __attrs_post_init__(self) -> None:
        if self.min_period > self.max_period:
            raise BadInput(
                where="min_period", expected=f"at most max_period ({self.max_period:g})", got=self.min_period
            )


@attrs.frozen(kw_only=True)
class HierarchicalConfig(Examples):
    """Options of hierarchical sentences."""

    vocab_size: int = option(16, ge=4, le=LARGEST_VOCABULARY, help="V: number of symbols of each level, and of tokens")
    branching: int = option(2, ge=2, le=16, help="number of symbols by which one symbol of the level above is replaced")
    levels: int = option(6, ge=1, le=64, help="number of levels; T = branching ** levels")
    rules: int = option(4, ge=1, help="number of productions per symbol, equally likely")


@attrs.frozen(kw_only=True)
class RandomConfig(Examples):
    """Options of random tokens."""

    vocab_size: int = option(64, ge=4, le=LARGEST_VOCABULARY, help="V: number of tokens")
    seq_len: int = option(128, ge=1, le=LONGEST, help="T")


@attrs.frozen(kw_only=True)
class MQARConfig(Examples):
    """Options of multi-query associative recall."""

    vocab_size: int = option(
        8192, ge=8, le=LARGEST_VOCABULARY, help="V: keys from the lower half, values from the upper half"
    )
    seq_len: int = option(64, ge=4, le=LONGEST, help="T, even")
    kv_pairs: int = option(8, ge=1, help="number of key-value pairs; each key is asked for once")
    power: float = option(0.01, gt=0, le=16, help="a: slot i is drawn with probability proportional to a i^(a-1)")
    train_examples: int | None = _training(100_000)
    validation_examples: int = _held_out(3000, "validation")
    test_examples: int = _held_out(3000, "test")

    def __attrs_post_init__(self) -> None:
        if self.seq_len % 2:
            raise BadInput(where="seq_len", expected="an even number", got=self.seq_len)
        if 4 * self.kv_pairs > self.seq_len:
            raise BadInput(where="kv_pairs", expected=f"at most seq_len / 4 = {self.seq_len // 4}", got=self.kv_pairs)


@attrs.frozen(kw_only=True)
class MADExamples(Examples):
    """The sizes that MAD publishes."""

    train_examples: int | None = _training(12_800)
    validation_examples: int = _held_out(1280, "validation")
    test_examples: int = _held_out(1280, "test")


@attrs.frozen(kw_only=True)
class RecallConfig(MADExamples):
    """Options of in-context recall."""

    vocab_size: int = option(
        16, ge=8, le=LARGEST_VOCABULARY, help="V: keys from the lower half, values from the upper half"
    )
    seq_len: int = option(128, ge=4, le=LONGEST, help="tokens of an example, even; the model reads T = seq_len - 1")

    def __attrs_post_init__(self) -> None:
        if self.seq_len % 2:
            raise BadInput(where="seq_len", expected="an even number", got=self.seq_len)


@attrs.frozen(kw_only=True)
class NoisyRecallConfig(MADExamples):
    """Options of noisy in-context recall."""

    vocab_size: int = option(32, ge=8, le=LARGEST_VOCABULARY, help="V: keys, values and noise tokens, in this order")
    noise_vocab_size: int = option(16, ge=1, le=LARGEST_VOCABULARY, help="number of noise tokens among them")
    frac_noise: float = option(0.2, ge=0, lt=1, help="probability that a pair is two noise tokens instead")
    seq_len: int = option(128, ge=4, le=LONGEST, help="tokens of an example, even; the model reads T = seq_len - 1")

    def __attrs_post_init__(self) -> None:
        if self.seq_len % 2:
            raise BadInput(where="seq_len", expected="an even number", got=self.seq_len)


@attrs.frozen(kw_only=True)
class FuzzyRecallConfig(MADExamples):
    """Options of fuzzy in-context recall."""

    vocab_size: int = option(16, ge=8, le=LARGEST_VOCABULARY, help="V: keys, values and one padding token")
    seq_len: int = option(128, ge=8, le=LONGEST, help="T")
    key_tokens: int = option(
        3, ge=1, help="largest number of tokens of a key; keys of validation and test have that many"
    )
    value_tokens: int = option(3, ge=1, help="largest number of tokens of a value")


@attrs.frozen(kw_only=True)
class SelectiveCopyingConfig(MADExamples):
    """Options of selective copying."""

    vocab_size: int = option(
        16, ge=6, le=LARGEST_VOCABULARY, help="V: symbols, a blank and a copy token, in this order"
    )
    seq_len: int = option(256, ge=4, le=LONGEST, help="T")
    copied: int = option(16, ge=1, help="number of symbols to copy")

    def __attrs_post_init__(self) -> None:
        if self.seq_len <= 2 * self.copied + 1:
            raise BadInput(
                where="seq_len", expected=f"more than 2 * copied + 1 = {2 * self.copied + 1}", got=self.seq_len
            )


@attrs.frozen(kw_only=True)
class CompressionConfig(MADExamples):
    """Options of compression."""

    vocab_size: int = option(
        16, ge=5, le=LARGEST_VOCABULARY, help="V: symbols, noise tokens and a compression token, in this order"
    )
    seq_len: int = option(32, ge=2, le=LONGEST, help="number of symbols plus one, the compression token")
    noise_vocab_size: int = option(0, ge=0, le=LARGEST_VOCABULARY, help="number of noise tokens")
    frac_noise: float = option(0.0, ge=0, lt=1, help="probability that a symbol is replaced by a noise token")

    def __attrs_post_init__(self) -> None:
        if self.frac_noise and not self.noise_vocab_size:
            raise BadInput(where="noise_vocab_size", expected="at least 1 where frac_noise > 0", got=0)


@attrs.frozen(kw_only=True)
class MemorizationConfig(MADExamples):
    """Options of memorization."""

    vocab_size: int = option(
        256, ge=9, le=LARGEST_VOCABULARY, help="V: keys, values and a question token, in this order"
    )
    seq_len: int = option(32, ge=2, le=LONGEST, help="T, even: a key and a question in turn")
    train_examples: int | None = _training(256)

    def __attrs_post_init__(self) -> None:
        if self.seq_len % 2:
            raise BadInput(where="seq_len", expected="an even number", got=self.seq_len)


@attrs.frozen(kw_only=True)
class TextConfig:
    """Options of language modeling."""

    path: str | None = option(
        None,
        help=(
            "a text file of your own, in place of a corpus; relative to the folder that LOT is called in, "
            "also where a configuration file names it"
        ),
    )
    corpus: Literal["pydoc", "shakespeare", "wikitext2", "enwik8"] | None = option(
        None,
        help=(
            "the corpus to read; null: pydoc, unless path is given. pydoc: the help topics of Python, which need no "
            "network; the others are downloaded once and verified"
        ),
    )
    format: Literal["text", "raw"] = option(
        "text",
        help=(
            "what the file at path may be. text: plain text, and JSON, Parquet, archives and the like are refused; "
            "raw: anything, read as it stands"
        ),
    )
    seq_len: int = option(128, ge=1, le=LONGEST, help="T: tokens per window")
    windows: Literal["shifted", "fixed"] = training_windows()

    def __attrs_post_init__(self) -> None:
        if self.path is None:
            if self.format == "raw":
                raise BadInput(where="format", expected="text where no path is given", got="'raw'")
            if self.corpus is None:
                object.__setattr__(self, "corpus", "pydoc")  # so that what is recorded and shown is what is read
        elif self.corpus is not None:
            raise BadInput(
                where="corpus",
                expected="none where path is given",
                got=repr(self.corpus),
                fix="set it to null to read the file",
            )


@attrs.frozen(kw_only=True)
class WordLMConfig(TextConfig):
    """Options of word-level language modeling."""

    min_count: int = option(2, ge=1, help="words that occur fewer times in the training text become <unk>")


@attrs.frozen(kw_only=True)
class TextLMConfig(TextConfig):
    """Options of language modeling with any tokenizer."""

    tokenizer: str = option(
        "byte",
        help=(
            "char, byte, word, or a JSON file of Hugging Face's tokenizers library, "
            "relative to the folder that LOT is called in"
        ),
    )
