"""A whole training step with each mechanism in every layer, against vanilla: forward, backward and AdamW.

Sizes: `survey` is that of experiments/survey, `nanogpt` that of nanoGPT on a CPU, `gpt2` that of GPT-2 small, where a step
takes seconds. Run those you want: `lot bench benchmarks/mechanisms.py --threads 1 --only T=64`.

Every case is measured twice: in seconds of the clock, and in CPU seconds of this process, which a busy machine changes less.
A claim is the target of the mechanism at that size. The results of 2026-11-30 in `results/` come from a machine on which nothing
else ran; `gpt2` is not among them.

What a step cannot cost less than on torch's own functions, at the size of the survey (B = 32, T = 64, H = 4, d = 16, two
layers; vanilla takes 39 ms, 4.6 ms a layer in attention, in CPU time on an AMD EPYC, one thread). N = B H T = 8192 tokens
of a head:

- lattice: sine and cosine of N phases, forward and back, in 0.09 ms of kernels; two more channels in three products of
  T x T, 6 MFLOP; about ten passes over 64 KiB: 0.4 ms a layer, 1.02. Fused attention, which is padded from 16 to 24
  channels, would take 1.5 ms more a layer, 1.08 without the scan; weights made for short sequences take 1.2 with their
  copies, of which 0.15 would go if they were written from and to the projection. The rest is calls: 0.8 ms for the 40
  small functions between drive and features and back, 1.3 as a graph of autograd, and 0.3 for the drive, 0.15 of which a
  projection of four more columns would save.
- pure_wave: softplus, sine, cosine and elu of N W = 131,072 numbers, at the 1.6 to 3.5 ns of torch's elementwise functions,
  and about 20 passes over 512 KiB forward and back: 3.7 ms. Products as in vanilla, without the softmax: 1 ms less than
  its attention. 1.14.
- interference: as pure_wave, with products over 34 channels in place of 16, 1.5 ms more: 1.21.
- phase: K N O = 2.6 million steps of an oscillator, whose sine and cosine are taken once forward and once back: 6.2 ms in
  the kernel as it is compiled here, 2.0 forward and 4.2 back. It has 50 instructions for 8 oscillators forward and 85
  back, which at 4 of them in a cycle of 3 GHz would be 3.7 ms. Hyperbolic tangents before it and sines and cosines after
  it, 3 N O of them at 2 to 4 ns, add 2.1 ms, their adjoints 0.6, and projections of 128 and 256 channels, where vanilla
  has 192 and 64, 100 MFLOP, 1.9 ms. 6.2 more than vanilla's attention: 1.32, and 1.19 with the kernel at that pace.
- toroidal: (D T)^2 / 2 scores of a head, 4 and 16 times vanilla's at depth 2 and 4, through torch's fused attention at 8
  and 4 channels in tiles of 32 and 16 positions, 18.5 and 51 ms: 1.71 and 3.4. Weights made by products and a softmax, as
  for short sequences of the lattice, take 24 and 112 ms, and a tile of all positions 22 and 77. Two exponentials and five
  products of 4 channels take a tenth of that at the peak of a core; the rest is how small its products are. At nanoGPT's
  size a platter has twice the channels, and there is less than half of the sequences.
"""

from __future__ import annotations

import functools
import os
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F

import lot
from lot import Context, Decoder
from lot.random import initialize
from lot_cli.bench import Case


@dataclass(frozen=True)
class Size:
    """A model and its batch."""

    name: str
    layers: int
    width: int
    heads: int
    vocabulary: int
    B: int
    T: int


SIZES = (
    Size("survey", layers=2, width=64, heads=4, vocabulary=128, B=32, T=64),
    Size("nanogpt", layers=4, width=128, heads=4, vocabulary=65, B=12, T=64),
    Size("gpt2", layers=12, width=768, heads=12, vocabulary=50257, B=1, T=512),
)


@dataclass(frozen=True)
class Mechanism:
    """An attention with its options, and what its step may cost, in vanilla's, at each size; None where nothing is claimed."""

    label: str
    name: str
    costs: tuple[float | None, float | None, float | None]
    depth: int | None = None

    @property
    def options(self) -> dict[str, Any]:
        """Its options, where they are not the defaults."""
        return {} if self.depth is None else {"depth": self.depth}


MECHANISMS = (
    Mechanism("lattice", "lattice", (1.08, 1.08, 1.03)),
    Mechanism("pure_wave", "pure_wave", (1.15, 1.15, 1.0)),
    Mechanism("interference", "interference", (1.25, 1.2, 1.05)),
    Mechanism("phase", "phase", (1.25, 1.2, 1.05)),
    Mechanism("toroidal, depth 2", "toroidal", (1.35, 1.35, None), depth=2),
    Mechanism("toroidal, depth 4", "toroidal", (2.2, 2.2, None), depth=4),
)
VANILLA = Mechanism("vanilla", "vanilla", (None, None, None))


def model(mechanism: Mechanism, size: Size) -> Decoder:
    """A decoder with GPT-2's positions and MLP, and the mechanism in every layer."""
    registry = lot.registry()
    dims = [
        lot.Dims(
            width=size.width,
            heads=size.heads,
            max_len=size.T,
            vocab_size=size.vocabulary,
            layer=layer,
            layers=size.layers,
        )
        for layer in range(size.layers)
    ]
    component = registry.get("attention", mechanism.name)
    options = component.parse(mechanism.options, "attn")
    attentions = [component.create(options, each) for each in dims]
    decoder = Decoder.around(registry.get("embedding", "token").build(dims[0]), attentions, dims[0])
    initialize(decoder, 0)
    return decoder


@functools.lru_cache(maxsize=2)  # GPT-2's size takes 2 GB
def step(mechanism: Mechanism, size: Size) -> Callable[[], None]:
    """One training step, warmed up; the model is made at the first call."""
    decoder = model(mechanism, size).train()
    optimizer = torch.optim.AdamW(decoder.parameters(), lr=1e-4, fused=True)
    ids = torch.randint(size.vocabulary, (size.B, size.T + 1), generator=torch.Generator().manual_seed(0))
    ctx = Context()

    def run() -> None:
        logits = decoder(ids[:, :-1], ctx).logits
        F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten()).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    run()
    return run


def in_turns(clock: Callable[[], float], mechanism: Mechanism, size: Size) -> Callable[[], tuple[float, float]]:
    """What measures a step with the mechanism and one with vanilla, in random order, by `clock`."""
    rng = random.Random(0)

    def pair() -> tuple[float, float]:
        taken = {}
        for each in rng.sample((mechanism, VANILLA), 2):
            run = step(each, size)
            began = clock()
            run()
            taken[each.label] = clock() - began
        return taken[mechanism.label], taken[VANILLA.label]

    return pair


def cases() -> Iterator[Case]:
    """Every mechanism at every size, by the clock and in CPU time."""
    os.environ["LOT_KERNELS"] = "require"  # without a compiler there is nothing to measure
    # As the first evaluation of a run does: the C library then keeps what is freed, where it gave it back and asked again.
    torch.empty(31 << 20, dtype=torch.uint8).zero_()
    for column, size in enumerate(SIZES):
        for mechanism in MECHANISMS:
            for what, clock in (("wall", time.perf_counter), ("CPU time", time.process_time)):
                yield Case(
                    name=f"{size.name} (T={size.T}), {mechanism.label}, {what}",
                    pair=in_turns(clock, mechanism, size),
                    baseline_name="vanilla",
                    cost=mechanism.costs[column],
                )
