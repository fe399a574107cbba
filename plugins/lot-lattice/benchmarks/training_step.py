"""A training step of a GPT-2-small-shaped model with oscillators in it, against the same model with vanilla attention.

Claims: `lattice` in every layer costs at most 1.05x on a GPU (bf16, compiled, B=16, T=1024) and at most 1.10x on a CPU (B=2,
T=512); `phase` in one layer at most 1.05x. A step is forward, backward and AdamW.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F

import lot
from lot import Context, Decoder
from lot_cli.bench import Case

WIDTH, HEADS, LAYERS, VOCABULARY = 768, 12, 12, 50257
PHASE_LAYER = 7  # where PhaseGPT puts it


def model(name: str, length: int) -> Decoder:
    """GPT-2 small with the attention `name`; `phase` in one layer only."""
    registry = lot.registry()
    dims = [
        lot.Dims(width=WIDTH, heads=HEADS, max_len=length, vocab_size=VOCABULARY, layer=layer, layers=LAYERS)
        for layer in range(LAYERS)
    ]
    names = [name if name != "phase" or layer == PHASE_LAYER else "vanilla" for layer in range(LAYERS)]
    attentions = [registry.get("attention", which).build(each) for which, each in zip(names, dims, strict=True)]
    embedding = registry.get("embedding", "token").build(dims[0])
    return Decoder.around(embedding, attentions, dims[0])


@functools.cache
def step(name: str, B: int, T: int, device: str) -> Callable[[], None]:
    """One training step; the model is made at the first call."""
    decoder = model(name, T).to(device)
    forward = torch.compile(decoder) if device == "cuda" else decoder
    optimizer = torch.optim.AdamW(decoder.parameters(), lr=1e-4, fused=True)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(VOCABULARY, (B, T + 1), generator=generator).to(device)
    ctx = Context(step=torch.zeros((), dtype=torch.int64, device=device))

    def run() -> None:
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            logits = forward(ids[:, :-1], ctx).logits
            loss = F.cross_entropy(logits.flatten(0, 1).float(), ids[:, 1:].flatten())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return run


def cases() -> Iterator[Case]:
    """Lattice in every layer, phase in one; on the CPU, and on a GPU where there is one."""
    os.environ["LOT_KERNELS"] = "require"  # without a compiler there is nothing to measure
    for device, (B, T), claims in (
        ("cpu", (2, 512), {"lattice": 1.10, "phase": 1.05}),
        ("cuda", (16, 1024), {"lattice": 1.05, "phase": 1.05}),
    ):
        if device == "cuda" and not torch.cuda.is_available():
            continue
        for name, claim in claims.items():
            yield Case(
                name=f"training step, {device}, {name}, B={B}, T={T}",
                candidate=lambda name=name, B=B, T=T, device=device: step(name, B, T, device)(),
                baseline=lambda B=B, T=T, device=device: step("vanilla", B, T, device)(),
                baseline_name="vanilla",
                cost=claim,
                device=device,
            )
