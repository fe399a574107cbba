"""The contract of a task, and the splits of its data.

Shapes: B batch, T positions, V vocabulary.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from lot.contracts.batch import IGNORED, Batch
from lot.errors import BadInput

if TYPE_CHECKING:
    import torchmetrics

Split = Literal["train", "validation", "test"]
"""A part of the data of a task; no example is in two of them."""


class Task(abc.ABC):
    """Data and its score.

    vocab_size: V. seq_len: T of every batch. causal: whether predicting position t from later inputs would be cheating.
    token_counts: (V,) int64 occurrences in the training split, or None.
    primary: the metric that chooses the best checkpoint; its direction is that metric's `higher_is_better`.
    repeats: "", or in a few words why examples of two splits may be alike, such as "the text repeats passages": the kit then
    tells how many are, and passes up to a quarter.
    origin: a digest of the files that the data come from, or None where they come from the seed alone. A run that is resumed
    or evaluated on others says so.
    bos, eos: the tokens that stand before a text and end it, as the tokenizer of the task has them; None where it has none.
    adds_bos: whether that tokenizer puts `bos` before a text by itself, as models that come with it expect; `encode` does not.
    segments: whether its batches have `Batch.segments`.

    A task whose data or tokens come from files gives `assets` and `from_assets`: a run keeps what they say, and can then be
    used where the files are not.
    """

    vocab_size: int
    seq_len: int
    causal: bool = True
    token_counts: Tensor | None = None
    primary: str = "loss"
    repeats: str = ""
    origin: str | None = None
    bos: int | None = None
    eos: int | None = None
    adds_bos: bool = False
    segments: bool = False

    @abc.abstractmethod
    def batch(self, split: Split, index: int, size: int, device: torch.device | str = "cpu") -> Batch:
        """Batch `index` of a split: a pure function of (seed, split, index, size). Splits never overlap.

        Training goes on for ever (a finite training split begins again, in another order). Validation and test hold
        `length(split)` examples: batch i has examples i * size and following, the last batch may be short, and an
        index beyond the end raises IndexError.
        """

    @abc.abstractmethod
    def length(self, split: Split) -> int | None:
        """Number of distinct examples of a split; None, for training only, where there is no end."""

    @abc.abstractmethod
    def metrics(self) -> torchmetrics.MetricCollection:
        """Fresh metrics, each updated with (logits (B, T, V) float32, targets (B, T)); `loss` is among them."""

    @abc.abstractmethod
    def decode(self, ids: Any) -> str:
        """Token ids (T,) as text for people."""

    def encode(self, text: str) -> list[int]:
        """Text as token ids, for prompts. Raises BadInput for text that the vocabulary cannot hold."""
        raise BadInput(f"{type(self).__name__} has no text form: a prompt cannot be encoded")

    def sources(self) -> dict[str, dict[str, Any]]:
        """What the data come from where an option names more than a file: by option, absolute `path`, `bytes` and `digest`."""
        return {}

    def assets(self) -> dict[str, bytes]:
        """What a run keeps of the files that this task reads, so that the task can be used without them: content by file name.

        Sizes, vocabulary, token counts, a tokenizer; never the data. Empty, the default: options and seed say all.
        """
        return {}

    @classmethod
    def from_assets(cls, config: Any, seed: int, assets: Mapping[str, bytes], data: Path | None = None) -> Task:
        """The task from what `assets` gave: it encodes, decodes and has the sizes and counts of the one that gave them.

        config: perhaps with other options, such as another length. data: a file in place of the one that the task reads.
        Without it the task reads its own when it is first asked for a batch; where that is not there, `batch` and `length`
        raise BadInput, which says which file it is, its size and digest. The default makes the task from options and seed.
        """
        if data is not None:
            raise BadInput("this task reads no file", where="--data", expected="none", got=str(data))
        return cls(config, seed)  # type: ignore[call-arg]

    def example(self, rng: np.random.Generator) -> str:
        """One training example as a short text that shows what is asked (and what is scored)."""
        batch = self.batch("train", int(rng.integers(2**31)), 1)
        scored = torch.where(batch.targets[0] == IGNORED, batch.inputs[0], batch.targets[0])
        return f"input:  {self.decode(batch.inputs[0])}\ntarget: {self.decode(scored)}"
