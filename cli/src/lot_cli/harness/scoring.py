"""What a model says of tokens: log-likelihoods of continuations, and continuations of its own. Knows nothing of lm_eval.

No result depends on what else is in a batch, beyond rounding: sequences of other lengths share one only where no module can
see what stands behind a sequence, and prompts are continued in batches of one length.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lot.contracts import Context, Model
from lot.devices.precision import autocast
from lot.model.generate import generate
from lot.model.measure import evaluating
from lot.random import torch_generator

Pair = tuple[list[int], list[int]]
"""A context and its continuation, token ids; neither is empty."""


class Scored(NamedTuple):
    """log_likelihood: nats, the sum over the tokens of a continuation. greedy: whether each of them is the likeliest."""

    log_likelihood: float
    greedy: bool


class Draws(NamedTuple):
    """How new tokens are chosen; temperature 0 takes the likeliest."""

    temperature: float = 0.0
    top_k: int | None = None
    top_p: float | None = None


class Speaker:
    """A model that scores and continues token ids, in batches.

    model: in evaluation mode, on its device. step: optimizer steps that its weights have. told: called with the number of
    requests that are done, after each batch.
    """

    def __init__(
        self,
        model: Model,
        *,
        batch_size: int,
        precision: str,
        step: int = 0,
        seed: int = 0,
        told: Callable[[int], None] = lambda done: None,
    ) -> None:
        self.model, self.batch_size, self.precision, self.seed, self.told = model, batch_size, precision, seed, told
        self.device = next(model.parameters()).device
        self.max_len = model.dims.max_len
        self._step = torch.tensor(step, device=self.device)
        self._may_pad = all(
            attention.causal and not attention.depends_on_length and not attention.tolerance
            for attention in model.attentions.values()
        )

    @torch.no_grad()
    def score(self, pairs: Sequence[Pair]) -> list[Scored]:
        """The log-likelihood of each continuation, whose length is at most `max_len`.

        Of a longer sequence the last `max_len` + 1 tokens count: the context is cut on its left.
        """
        places: dict[tuple[int, ...], list[int]] = defaultdict(list)  # requests that share a pass: choices of one token
        for place, (context, continuation) in enumerate(pairs):
            places[tuple((context + continuation)[-(self.max_len + 1) : -1])].append(place)
        found: dict[int, Scored] = {}
        with evaluating(self.model):
            for rows in self._batches(list(places)):
                wanted = [(row, place) for row, ids in enumerate(rows) for place in places[ids]]
                logits = self._logits(rows)
                for row, place in wanted:
                    continuation = pairs[place][1]
                    end = len(rows[row])
                    found[place] = _scored(logits[row, end - len(continuation) : end], continuation)
                self.told(len(wanted))
        return [found[place] for place in range(len(pairs))]

    def _logits(self, rows: Sequence[tuple[int, ...]]) -> Tensor:
        """Logits (B, T, V), each row filled up on its right."""
        longest = max(map(len, rows))
        ids = torch.tensor([row + row[-1:] * (longest - len(row)) for row in rows], device=self.device)
        with autocast(self.device, self.precision):
            return self.model(ids, Context(step=self._step)).logits

    def _batches(self, rows: Sequence[tuple[int, ...]]) -> Iterator[list[tuple[int, ...]]]:
        """Rows in batches, the longest first; rows of one length where filling up would show."""
        ordered = sorted(rows, key=lambda row: (-len(row), row))
        batch: list[tuple[int, ...]] = []
        for row in ordered:
            if batch and (len(batch) == self.batch_size or not (self._may_pad or len(row) == len(batch[0]))):
                yield batch
                batch = []
            batch.append(row)
        if batch:
            yield batch

    def extend(
        self, prompts: Sequence[list[int]], most: int, done: Callable[[list[int]], bool], draws: Draws
    ) -> list[list[int]]:
        """New tokens of each prompt, of up to `max_len` - `most` tokens: `most`, or fewer where `done` says so of them.

        What is drawn depends on the seed, the prompt and how often it has been asked, and on no other prompt.
        """
        found: list[list[int]] = [[] for _ in prompts]
        greedy = draws.temperature == 0
        order: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for place, prompt in enumerate(prompts):
            order[tuple(prompt)].append(place)
        if greedy:  # equal prompts have equal answers
            by_length: dict[int, list[tuple[int, ...]]] = defaultdict(list)
            for prompt_ids in order:
                by_length[len(prompt_ids)].append(prompt_ids)
            for length in sorted(by_length, reverse=True):
                rows = by_length[length]
                for first in range(0, len(rows), self.batch_size):
                    batch = rows[first : first + self.batch_size]
                    for ids, new in zip(
                        batch, self._continued(batch, most, done, draws, self._generator()), strict=True
                    ):
                        for place in order[ids]:
                            found[place] = list(new)
                    self.told(sum(len(order[ids]) for ids in batch))
            return found
        for ids, asked in order.items():
            for number, place in enumerate(asked):
                generator = self._generator(hashlib.sha256(str(ids).encode()).hexdigest(), number)
                found[place] = self._continued([ids], most, done, draws, generator)[0]
                self.told(1)
        return found

    def _generator(self, *purpose: str | int) -> torch.Generator:
        return torch_generator(self.seed, "harness", *purpose)

    def _continued(
        self,
        rows: Sequence[tuple[int, ...]],
        most: int,
        done: Callable[[list[int]], bool],
        draws: Draws,
        generator: torch.Generator,
    ) -> list[list[int]]:
        """The new tokens of rows of one length."""
        found: list[list[int]] = [[] for _ in rows]
        open_rows = set(range(len(rows)))
        with evaluating(self.model):
            steps = generate(
                self.model,
                torch.tensor(rows, dtype=torch.int64, device=self.device),
                most,
                generator=generator,
                step=self._step,
                temperature=draws.temperature,
                top_k=draws.top_k,
                top_p=draws.top_p,
            )
            for step in steps:
                for row, token in enumerate(step.ids.tolist()):
                    if row in open_rows:
                        found[row].append(token)
                        if done(found[row]):
                            open_rows.discard(row)
                if not open_rows:
                    break
        return found


def _scored(logits: Tensor, continuation: list[int]) -> Scored:
    """logits (n, V) of the n positions that predict the continuation."""
    targets = torch.tensor(continuation, device=logits.device)
    log_p = torch.log_softmax(logits.float(), dim=-1)  # (n, V)
    chosen = log_p.gather(1, targets[:, None])[:, 0].double()
    return Scored(float(chosen.sum()), bool((log_p.argmax(-1) == targets).all()))
