"""Decoding with caches: one step of every attention that offers it, against a full pass and against vanilla's step.

A decoder of 4 layers of width 256 with 8 heads, one sequence. Claim: at position 2,048 a step is at least 20 times as fast
as a pass over all tokens, which is what generating without a cache costs.
"""

from __future__ import annotations

import copy
import functools
import time
from collections.abc import Iterator
from typing import Any

import torch

import lot
from lot import Context, Decoder
from lot_cli.bench import Case

WIDTH, HEADS, LAYERS, VOCABULARY = 256, 8, 4, 256
POSITIONS = (256, 2048)
"""Tokens that the cache holds when a step is timed."""
STEPS = 8
"""Steps, and no more, that a sample takes: the position is to stay what it is called."""


class Decoding:
    """A decoder with one attention in every layer, and caches that hold a number of tokens."""

    def __init__(self, name: str, position: int) -> None:
        registry = lot.registry()
        dims = [
            lot.Dims(
                width=WIDTH,
                heads=HEADS,
                max_len=position + STEPS,
                vocab_size=VOCABULARY,
                layer=layer,
                layers=LAYERS,
            )
            for layer in range(LAYERS)
        ]
        attentions = [registry.get("attention", name).build(each) for each in dims]
        self.model = Decoder.around(registry.get("embedding", "token").build(dims[0]), attentions, dims[0]).eval()
        self.position = position
        self.ids = torch.randint(VOCABULARY, (1, position + STEPS), generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            empty = self.model.init_cache(1, "cpu", torch.float32)
            _, self.caches = self.model.extend(self.ids[:, :position], Context(), empty)

    @torch.no_grad()
    def step(self) -> float:
        """CPU seconds per step, from the caches on."""
        caches = copy.deepcopy(self.caches)  # a step may change them in place
        began = time.process_time()
        for at in range(self.position, self.position + STEPS):
            _, caches = self.model.extend(self.ids[:, at : at + 1], Context(start=at), caches)
        return (time.process_time() - began) / STEPS

    @torch.no_grad()
    def whole(self) -> float:
        """CPU seconds of a pass over all tokens."""
        began = time.process_time()
        self.model(self.ids[:, : self.position], Context())
        return time.process_time() - began

    def state(self) -> float:
        """Bytes of the caches, per token that they have room for."""
        return held(self.caches) / (self.position + STEPS)


def held(value: Any) -> int:
    """The bytes of all tensors in `value`."""
    if isinstance(value, torch.Tensor):
        return value.element_size() * value.numel()
    if isinstance(value, list | tuple):
        return sum(held(each) for each in value)
    return sum(held(each) for each in vars(value).values()) if hasattr(value, "__dict__") else 0


@functools.cache
def decoding(name: str, position: int) -> Decoding:
    """Made at the first use."""
    return Decoding(name, position)


def cases() -> Iterator[Case]:
    """Every attention that decodes, of every plugin that is installed."""
    longest = max(POSITIONS)
    dims = lot.Dims(width=WIDTH, heads=HEADS, max_len=longest, vocab_size=VOCABULARY)
    for name in lot.registry().names("attention"):
        if not lot.registry().get("attention", name).build(dims).can_decode():
            continue
        yield Case(
            name=f"{name}: a step at {longest:,}",
            pair=lambda name=name: (decoding(name, longest).step(), decoding(name, longest).whole()),
            baseline_name="a pass over all tokens",
            speedup=20.0,
            note="CPU time",
        )
        if name == "vanilla":
            continue
        for position in POSITIONS:
            yield Case(
                name=f"{name}: a step at {position:,}, against vanilla",
                pair=lambda name=name, position=position: tuple(
                    decoding(which, position).step() for which in (name, "vanilla")
                ),
                baseline_name="vanilla's step",
                note="CPU time",
            )
        yield Case(
            name=f"{name}: state per token at {longest:,}, memory",
            what="memory",
            pair=lambda name=name: tuple(decoding(which, longest).state() for which in (name, "vanilla")),
            baseline_name="vanilla's",
        )
