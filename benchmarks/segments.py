"""A training step whose documents are computed apart, against the same batch with its documents joined.

Each step finds the documents of its batch, which is part of what is measured, and computes forward, backward and AdamW. Mixes:
`short` documents of about 14 tokens, `mixed` ones of all lengths around T / 8, `long` ones of about 2 T, of which a window holds
parts. Apart, a mechanism computes fewer pairs of tokens and more tokens, with padding, in a few calls, so that long rows become
cheaper and rows that cost little anyway become dearer. Time is that of the CPU, which a busy machine changes less.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

import lot
from lot import Batch, Decoder
from lot.nn import Documents, context
from lot.random import initialize
from lot_cli.bench import Case

MECHANISMS = ("vanilla", "lattice", "phase", "interference", "toroidal")
VOCABULARY = 257


@dataclass(frozen=True)
class Size:
    """A model and its batch."""

    layers: int
    width: int
    heads: int
    B: int
    T: int

    def __str__(self) -> str:
        return f"{self.layers} layers x {self.width}, T={self.T}"


SIZES = (Size(layers=2, width=64, heads=4, B=32, T=64), Size(layers=4, width=256, heads=8, B=4, T=512))

MIXES: dict[str, Callable[[np.random.Generator, int], float]] = {
    "short": lambda rng, T: 2 + rng.geometric(1 / 12),
    "mixed": lambda rng, T: 2 + np.exp(rng.normal(np.log(T / 8), 1.2)),
    "long": lambda rng, T: np.exp(rng.normal(np.log(2 * T), 0.6)),
}
"""The length of a document in a mix."""


def batch(size: Size, mix: str) -> Batch:
    """Random tokens of documents of random lengths, the first of each row cut anywhere."""
    rng = np.random.default_rng(0)
    ids = torch.from_numpy(rng.integers(VOCABULARY, size=(size.B, size.T + 1)))
    segments = np.zeros((size.B, size.T), dtype=np.int64)
    for row in segments:
        place = -int(rng.random() * MIXES[mix](rng, size.T))
        while place < size.T:
            place += max(1, int(MIXES[mix](rng, size.T)))
            row[max(0, place) :] += 1
    return Batch(ids[:, :-1], ids[:, 1:], segments=torch.from_numpy(segments))


def model(mechanism: str, size: Size) -> Decoder:
    """A decoder with initial values."""
    registry = lot.registry()
    dims = [
        lot.Dims(width=size.width, heads=size.heads, max_len=size.T, vocab_size=VOCABULARY, layer=i, layers=size.layers)
        for i in range(size.layers)
    ]
    attentions = [registry.get("attention", mechanism).build(each) for each in dims]
    decoder = Decoder.around(registry.get("embedding", "token").build(dims[0]), attentions, dims[0]).train()
    initialize(decoder, 0)
    return decoder


def step(decoder: Decoder, given: Batch) -> Callable[[], None]:
    """One training step on a batch."""
    optimizer = torch.optim.AdamW(decoder.parameters(), lr=1e-4, fused=True)

    def run() -> None:
        logits = decoder(given.inputs, context(given, torch.zeros((), dtype=torch.int64))).logits
        F.cross_entropy(logits.flatten(0, 1), given.targets.flatten()).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return run


def cases() -> Iterator[Case]:
    """Every mechanism at every size and mix."""
    for size in SIZES:
        for mix in MIXES:
            given = batch(size, mix)
            assert given.segments is not None
            for mechanism in MECHANISMS:
                decoders = [model(mechanism, size) for _ in range(2)]
                yield Case(
                    name=f"{size}, {mix}, {mechanism}",
                    candidate=step(decoders[0], given),
                    baseline=step(decoders[1], given._replace(segments=None)),
                    baseline_name="documents joined",
                    clock="cpu",
                    note=Documents(given.segments).cost([decoders[0].embedding, *decoders[0].attentions.values()]),
                )
