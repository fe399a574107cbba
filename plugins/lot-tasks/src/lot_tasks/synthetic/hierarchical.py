"""Sentences of a random hierarchical grammar."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from lot import IGNORED, BadInput, Split
from lot.random import numpy_generator
from lot_tasks.config import HierarchicalConfig
from lot_tasks.metrics import pattern_metrics
from lot_tasks.synthetic.base import SyntheticTask
from lot_tasks.synthetic.splits import place, require_symbols

if TYPE_CHECKING:
    import torchmetrics

_MOST_TUPLES = 10_000_000  # right-hand sides that a level may choose from
_LONGEST = 1 << 16  # tokens of a sentence


class Hierarchical(SyntheticTask):
    """The random hierarchy model (Cagnetta et al., Physical Review X 14, 031001, 2024).

    A root symbol out of V is replaced by `branching` symbols of the level below, by one of its `rules` productions with
    equal probability, and so on for `levels` levels; T = branching ** levels leaves are the tokens. Each level has
    productions of its own, drawn once from the seed, and no two of them have the same right-hand side, so a sentence
    has one derivation. Tokens far apart depend on each other through the levels above them.

    rules: [level] -> (V, rules, branching) int64. floor: the least mean loss in nats per scored token that any model can reach.
    """

    name = "hierarchical"

    def __init__(self, config: HierarchicalConfig, seed: int) -> None:
        super().__init__(config, seed)
        size, branching = config.vocab_size, config.branching
        require_symbols(size, where="vocab_size", got=size)
        tuples = size**branching
        if config.rules * size > tuples:
            raise BadInput(
                where="rules", expected=f"at most vocab_size ** (branching - 1) = {tuples // size}", got=config.rules
            )
        if tuples > _MOST_TUPLES:
            raise BadInput(where="branching", expected=f"vocab_size ** branching <= {_MOST_TUPLES}", got=tuples)
        if branching**config.levels > _LONGEST:
            raise BadInput(
                where="levels", expected=f"branching ** levels <= {_LONGEST}", got=f"{branching} ** {config.levels}"
            )
        self.vocab_size = size
        self.seq_len = branching**config.levels
        self.branching = branching
        self.rules = [self._productions(level, config.rules) for level in range(config.levels)]
        self.floor = self._floor()

    def draw(self, rng: np.random.Generator, split: Split, count: int) -> tuple[np.ndarray, np.ndarray]:
        nodes = [self.branching**level for level in range(len(self.rules))]
        choices = rng.integers(0, self.rules[0].shape[1], (count, sum(nodes)))
        root = rng.integers(0, self.vocab_size, (count, 1))
        # One derivation per sentence: a split of derivations is a split of sentences. Choices are no symbols, so they are
        # moved out of the symbols' range.
        derivation = np.concatenate([root, choices + self.vocab_size], axis=1)
        derivation, _ = place(rng, split, range(self.vocab_size), derivation, derivation)
        return self._next_leaves(self.expand(derivation[:, :1], choices))

    def expand(self, root: np.ndarray, choices: np.ndarray) -> np.ndarray:
        """Leaves (N, T) of root (N, 1) symbols and the productions chosen (N, nodes), level by level, left to right."""
        symbols, start = root, 0
        for rules in self.rules:
            nodes = symbols.shape[1]
            symbols = rules[symbols, choices[:, start : start + nodes]].reshape(len(root), -1)
            start += nodes
        return symbols

    def metrics(self) -> torchmetrics.MetricCollection:
        return pattern_metrics()

    def example(self, rng: np.random.Generator) -> str:
        guessing = math.log(self.vocab_size)
        return f"{super().example(rng)}\n[best possible loss {self.floor:.3f}; guessing {guessing:.3f}]"

    def _next_leaves(self, leaves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        # The last leaf is an input too: without it the inputs would not tell the derivation, nor therefore the split.
        targets = np.concatenate([leaves[:, 1:], np.full((len(leaves), 1), IGNORED)], axis=1)
        return leaves, targets

    def _productions(self, level: int, rules: int) -> np.ndarray:
        rng = numpy_generator(self.seed, "task", self.name, "rules", level)
        tuples = rng.choice(self.vocab_size**self.branching, rules * self.vocab_size, replace=False)
        digits = self.vocab_size ** np.arange(self.branching)
        return (tuples[:, None] // digits % self.vocab_size).reshape(self.vocab_size, rules, self.branching)

    def _floor(self) -> float:
        """Entropy of a sentence without that of its first token (which is no target), per target, in nats.

        The splits share out roots, which a model could exploit only if it knew the hash; this is left out.
        """
        first = np.full(self.vocab_size, 1 / self.vocab_size)  # distribution of the leftmost symbol, level by level
        productions = 0
        for level, rules in enumerate(self.rules):
            productions += self.branching**level
            leftmost = rules[:, :, 0]
            weights = np.broadcast_to(first[:, None] / rules.shape[1], leftmost.shape)
            first = np.bincount(leftmost.ravel(), weights.ravel(), minlength=self.vocab_size)
        sentence = math.log(self.vocab_size) + productions * math.log(self.rules[0].shape[1])
        possible = first[first > 0]
        return float(sentence + (possible * np.log(possible)).sum()) / (self.seq_len - 1)
