"""Tasks: an honest one with a finite training split, and with a defect each."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
import torchmetrics

from lot.contracts import IGNORED, Batch, Split, Task
from lot.metrics import MeanLoss, TokenAccuracy
from lot.options.declare import NoOptions
from lot.random import numpy_generator, permutation

V, T = 12, 10


class Honest(Task):
    """Random tokens, each to be followed by its successor; the first is not scored, the last third may be padding."""

    vocab_size, seq_len, primary = V, T, "accuracy"
    sizes: dict[str, int | None] = {"train": 300, "validation": 50, "test": 61}  # noqa: RUF012

    def __init__(self, config: NoOptions, seed: int) -> None:
        self.seed = seed
        self.token_counts = torch.full((V,), 300 * T // V)

    def length(self, split: Split) -> int | None:
        return self.sizes[split]

    def example_tokens(self, split: Split, number: int) -> np.ndarray:
        """Tokens (T + 1,) of example `number`; the split is told by the first two tokens, so that none is in two."""
        tokens = numpy_generator(0, "specimen", split, number).integers(V, size=T + 1)
        tokens[0] = ("train", "validation", "test").index(split)
        return tokens

    def numbers(self, split: Split, index: int, size: int) -> np.ndarray:
        """Numbers of the examples of a batch."""
        n = self.sizes[split]
        assert n is not None
        wanted = np.arange(index * size, (index + 1) * size)
        if split != "train":
            if index * size >= n:
                raise IndexError(f"batch {index} of {split}: there are {n} examples")
            return wanted[wanted < n]
        return np.array([int(permutation(np.array([i % n]), n, self.seed, "round", int(i // n))[0]) for i in wanted])

    def batch(self, split: Split, index: int, size: int, device: torch.device | str = "cpu") -> Batch:
        numbers = self.numbers(split, index, size)
        tokens = torch.from_numpy(np.stack([self.example_tokens(split, int(i)) for i in numbers]))
        inputs, targets = tokens[:, :-1].contiguous(), tokens[:, 1:].clone()
        targets[:, 0] = IGNORED
        padding = torch.from_numpy((numbers % 3 == 0)[:, None] & (np.arange(T) >= 7)[None, :])
        return Batch(inputs.to(device), targets.masked_fill(padding, IGNORED).to(device), padding.to(device))

    def metrics(self) -> torchmetrics.MetricCollection:
        return torchmetrics.MetricCollection({"loss": MeanLoss(), "accuracy": TokenAccuracy()})

    def decode(self, ids: Any) -> str:
        return "".join("abcdefghijkl"[int(i)] for i in ids)

    def encode(self, text: str) -> list[int]:
        return ["abcdefghijkl".index(letter) for letter in text]


class Changed(Honest):
    """The honest batch, with a change."""

    def batch(self, split: Split, index: int, size: int, device: torch.device | str = "cpu") -> Batch:
        return self.change(super().batch(split, index, size, device))

    def change(self, batch: Batch) -> Batch:
        raise NotImplementedError


class Iterator(Honest):
    """Goes on where the last batch ended."""

    position = 0

    def batch(self, split: Split, index: int, size: int, device: torch.device | str = "cpu") -> Batch:
        if split != "train":
            return super().batch(split, index, size, device)
        self.position += 1
        return super().batch(split, self.position, size, device)


class GlobalGenerator(Honest):
    """Draws from numpy's global generator."""

    def example_tokens(self, split: Split, number: int) -> np.ndarray:
        tokens = super().example_tokens(split, number)
        tokens[3] = np.random.randint(V)
        return tokens


class PythonGenerator(Honest):
    """Draws from Python's global generator, and throws it away."""

    def example_tokens(self, split: Split, number: int) -> np.ndarray:
        random.random()
        return super().example_tokens(split, number)


class SeedIgnored(Honest):
    """The same order for every seed."""

    def __init__(self, config: NoOptions, seed: int) -> None:
        super().__init__(config, 0)


class IndexIgnored(Honest):
    """The same batch for ever."""

    def numbers(self, split: Split, index: int, size: int) -> np.ndarray:
        return super().numbers(split, 0 if split == "train" else index, size)


class SharedExamples(Honest):
    """A test split made of training examples."""

    def example_tokens(self, split: Split, number: int) -> np.ndarray:
        return super().example_tokens("train" if split == "test" else split, number)


class RepeatedExamples(Honest):
    """A validation split that repeats itself."""

    def example_tokens(self, split: Split, number: int) -> np.ndarray:
        return super().example_tokens(split, number % 20 if split == "validation" else number)


class SameOrder(Honest):
    """Begins again in the same order."""

    def numbers(self, split: Split, index: int, size: int) -> np.ndarray:
        if split != "train":
            return super().numbers(split, index, size)
        return np.arange(index * size, (index + 1) * size) % 300


class DrawsWithReplacement(Honest):
    """Trains on draws with replacement, and calls that a length."""

    def numbers(self, split: Split, index: int, size: int) -> np.ndarray:
        if split != "train":
            return super().numbers(split, index, size)
        return np.stack([numpy_generator(self.seed, index * size + i).integers(300) for i in range(size)])


class LongLength(Honest):
    """Says that it has more examples than it gives."""

    def length(self, split: Split) -> int | None:
        return 70 if split == "test" else super().length(split)


class Endless(Honest):
    """A test split that never ends."""

    def numbers(self, split: Split, index: int, size: int) -> np.ndarray:
        if split != "test":
            return super().numbers(split, index, size)
        return np.arange(index * size, min((index + 1) * size, max(61, index * size + 1)))


class UnknownLength(Honest):
    """A validation split of unknown length."""

    def length(self, split: Split) -> int | None:
        return None


class KeyedByBatch(Honest):
    """Validation examples that depend on the size of the batch."""

    def example_tokens(self, split: Split, number: int) -> np.ndarray:
        return super().example_tokens(split, number + (1000 * self.size if split == "validation" else 0))

    def batch(self, split: Split, index: int, size: int, device: torch.device | str = "cpu") -> Batch:
        self.size = size
        return super().batch(split, index, size, device)


class WideTokens(Changed):
    """A token outside the vocabulary."""

    def change(self, batch: Batch) -> Batch:
        return batch._replace(inputs=torch.where(batch.inputs == 5, V, batch.inputs))


class NarrowTokens(Changed):
    """int32 tokens."""

    def change(self, batch: Batch) -> Batch:
        return batch._replace(inputs=batch.inputs.int())


class ShortBatch(Changed):
    """One token short."""

    def change(self, batch: Batch) -> Batch:
        return Batch(*(value[:, :-1] for value in batch if value is not None))


class NothingScored(Changed):
    """Nothing to score."""

    def change(self, batch: Batch) -> Batch:
        return batch._replace(targets=torch.full_like(batch.targets, IGNORED))


class ScoredPadding(Changed):
    """Scores padding."""

    def change(self, batch: Batch) -> Batch:
        return batch._replace(targets=batch.targets.clamp(min=0))


class UntoldDocuments(Changed):
    """Gives documents, and does not say so."""

    def change(self, batch: Batch) -> Batch:
        return batch._replace(segments=torch.zeros_like(batch.inputs))


class NarrowDocuments(Changed):
    """Numbers documents in 32 bits."""

    segments = True

    def change(self, batch: Batch) -> Batch:
        return batch._replace(segments=torch.zeros_like(batch.inputs, dtype=torch.int32))


class Unshifted(Changed):
    """Asks for the very token that it shows."""

    def change(self, batch: Batch) -> Batch:
        return batch._replace(targets=torch.where(batch.targets == IGNORED, IGNORED, batch.inputs))


class UncountedToken(Honest):
    """Counts that leave a token out."""

    def __init__(self, config: NoOptions, seed: int) -> None:
        super().__init__(config, seed)
        self.token_counts[4] = 0


class NoText(Honest):
    """Decodes to a list."""

    def decode(self, ids: Any) -> Any:
        return [int(i) for i in ids]


class MovingExample(Honest):
    """An example that no generator holds still."""

    def example(self, rng: np.random.Generator) -> str:
        return str(random.random())


class WideEncoding(Honest):
    """Encodes beyond the vocabulary."""

    def encode(self, text: str) -> list[int]:
        return [ord(letter) for letter in text]


class NonCausal(Unshifted):
    """The answer stands in the input, and it says so."""

    causal = False


class NoTask:
    """None of the contract."""

    def __init__(self, config: NoOptions, seed: int) -> None:
        pass


class Windows(Honest):
    """Windows of 32 tokens of one random text, cut in three: none of one part overlaps another."""

    vocab_size, seq_len = 26, 32
    sizes: dict[str, int | None] = {"train": 300, "validation": 40, "test": 40}  # noqa: RUF012

    def __init__(self, config: NoOptions, seed: int) -> None:
        self.seed = seed
        self.text = numpy_generator(0, "specimen text").integers(26, size=380 * 33)
        self.starts = {
            "train": np.arange(300) * 33,
            "validation": (300 + np.arange(40)) * 33,
            "test": (340 + np.arange(40)) * 33,
        }

    def batch(self, split: Split, index: int, size: int, device: torch.device | str = "cpu") -> Batch:
        starts = self.starts[split][self.numbers(split, index, size)]
        tokens = torch.from_numpy(self.text[starts[:, None] + np.arange(33)])
        return Batch(tokens[:, :-1].contiguous().to(device), tokens[:, 1:].contiguous().to(device))

    def decode(self, ids: Any) -> str:
        return "".join("abcdefghijklmnopqrstuvwxyz"[int(i)] for i in ids)

    def encode(self, text: str) -> list[int]:
        return ["abcdefghijklmnopqrstuvwxyz".index(letter) for letter in text]


class ShiftedWindows(Windows):
    """Windows of the same text for all splits: no two are equal, and most of them overlap."""

    def __init__(self, config: NoOptions, seed: int) -> None:
        super().__init__(config, seed)
        self.starts = {
            "train": np.arange(300) * 33,
            "validation": np.arange(40) * 33 + 5,
            "test": np.arange(40) * 33 - 4 + 66,
        }


class DeclaredRepeats(Windows):
    """A text in which a passage stands twice: honest, and declared."""

    repeats = "the text repeats a passage"

    def __init__(self, config: NoOptions, seed: int) -> None:
        super().__init__(config, seed)
        first, second = 340 * 33 + 7, 10 * 33
        self.text[first : first + 4 * 33] = self.text[second : second + 4 * 33]
        self.text[350 * 33 : 352 * 33] = self.text[20 * 33 : 22 * 33]


class UndeclaredRepeats(DeclaredRepeats):
    """The same, undeclared."""

    repeats = ""


class DeclaredPool(ShiftedWindows):
    """Declares what is no repetition, but one pool for all splits."""

    repeats = "the text repeats passages"


class OverlapAtTheCut(Windows):
    """The test split begins eight windows before training ends, three tokens aside."""

    def __init__(self, config: NoOptions, seed: int) -> None:
        super().__init__(config, seed)
        self.starts["test"] = (292 + np.arange(40)) * 33 + 3
        self.starts["validation"] = (340 + np.arange(39)) * 33
        self.sizes = {**self.sizes, "validation": 39}


class NearCopies(Windows):
    """Test examples are training examples with one token changed."""

    def batch(self, split: Split, index: int, size: int, device: torch.device | str = "cpu") -> Batch:
        if split != "test":
            return super().batch(split, index, size, device)
        numbers = self.numbers(split, index, size)
        tokens = torch.from_numpy(self.text[(3 * numbers * 33)[:, None] + np.arange(33)])
        rows, places = torch.arange(len(numbers)), torch.from_numpy(numbers % 32)
        tokens[rows, places] = (tokens[rows, places] + 1) % 26
        return Batch(tokens[:, :-1].contiguous().to(device), tokens[:, 1:].contiguous().to(device))


class LateOverlap(Honest):
    """Test examples beyond the first 600 are training examples."""

    sizes: dict[str, int | None] = {"train": 2000, "validation": 50, "test": 700}  # noqa: RUF012

    def example_tokens(self, split: Split, number: int) -> np.ndarray:
        late = split == "test" and number >= 600
        return super().example_tokens("train" if late else split, number)


class Large(Honest):
    """More training examples than the kit reads."""

    sizes: dict[str, int | None] = {"train": 60_000, "validation": 50, "test": 61}  # noqa: RUF012

    def numbers(self, split: Split, index: int, size: int) -> np.ndarray:
        return (
            np.arange(index * size, (index + 1) * size) % 60_000
            if split == "train"
            else super().numbers(split, index, size)
        )

    def example_tokens(self, split: Split, number: int) -> np.ndarray:
        digits = np.array([(number // V**k) % V for k in range(T + 1)])
        digits[-1] = ("train", "validation", "test").index(split)
        return digits[::-1].copy()


class ReadsFile(Honest):
    """Says that it reads a file, and keeps nothing of it."""

    origin = "0" * 64


class KeepsData(Honest):
    """Keeps the text of its first training example."""

    def decode(self, ids: Any) -> str:
        return " ".join(f"token-{int(i)}" for i in ids)

    def assets(self) -> dict[str, bytes]:
        return {"text.txt": self.decode(self.batch("train", 0, 1).inputs[0]).encode()}


class ForgetsCounts(Honest):
    """Made from its assets it has other counts."""

    @classmethod
    def from_assets(cls, config: NoOptions, seed: int, assets: Any, data: Any = None) -> Task:
        task = cls(config, seed)
        task.token_counts = torch.zeros(V, dtype=torch.int64)
        return task


class OtherBatches(Honest):
    """Made from its assets it draws from another seed."""

    @classmethod
    def from_assets(cls, config: NoOptions, seed: int, assets: Any, data: Any = None) -> Task:
        return cls(config, seed + 1)


class NestedAsset(Honest):
    """An asset whose name leads out of its folder."""

    def assets(self) -> dict[str, bytes]:
        return {"../vocabulary.json": b"[]"}
