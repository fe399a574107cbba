"""The engine's step against a loop as nanoGPT has it, at the size that nanoGPT names for a CPU.

4 layers of width 128 with 4 heads, 12 sequences of 64 characters. The loop is as fast as one gets it by hand: batches cut
from a memory map, fused attention, fused AdamW, the norm of gradients clipped, a cosine schedule, and nothing logged.
"""

from __future__ import annotations

import atexit
import contextlib
import math
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lot import load_config
from lot.training.steps import training_steps
from lot_cli.bench import Case

LAYERS, WIDTH, HEADS, LENGTH, BATCH = 4, 128, 4, 64, 12
STEPS, WARMUP, RATE, CLIP, DECAY = 2000, 100, 1e-3, 1.0, 0.1
CHARACTERS = "abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ.,;:'!?-\n0123456789"
SIZE = 1_000_000
"""Characters of the text, about as many as nanoGPT's."""


class Block(nn.Module):
    """A block of GPT-2."""

    def __init__(self) -> None:
        super().__init__()
        self.norm_attention, self.norm_mlp = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        B, T, D = x.shape
        parts = self.qkv(self.norm_attention(x)).split(D, dim=2)
        q, k, v = (part.view(B, T, HEADS, D // HEADS).transpose(1, 2) for part in parts)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(B, T, D))
        return x + self.down(F.gelu(self.up(self.norm_mlp(x)), approximate="tanh"))


class GPT(nn.Module):
    """GPT-2 with the embedding as output head."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocabulary, WIDTH), nn.Embedding(LENGTH, WIDTH)
        self.blocks = nn.Sequential(*(Block() for _ in range(LAYERS)))
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.blocks(self.tokens(ids) + self.positions.weight[: ids.shape[1]])
        return F.linear(self.norm(x), self.tokens.weight)


class Loop:
    """The loop; each call is one step."""

    def __init__(self, file: Path, vocabulary: int) -> None:
        self.data = np.memmap(file, dtype=np.uint16, mode="r")
        self.model = GPT(vocabulary).train()
        decayed = [p for p in self.model.parameters() if p.dim() >= 2]
        others = [p for p in self.model.parameters() if p.dim() < 2]
        groups = [{"params": decayed, "weight_decay": DECAY}, {"params": others, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.99), fused=True)
        self.step = 0

    def batch(self) -> tuple[Tensor, Tensor]:
        """Windows from random places, and the characters that follow."""
        starts = torch.randint(len(self.data) - LENGTH, (BATCH,)).tolist()
        x = torch.stack([torch.from_numpy(self.data[i : i + LENGTH].astype(np.int64)) for i in starts])
        y = torch.stack([torch.from_numpy(self.data[i + 1 : i + 1 + LENGTH].astype(np.int64)) for i in starts])
        return x, y

    def rate(self) -> float:
        """A linear warm-up, then a cosine to a tenth."""
        if self.step < WARMUP:
            return RATE * (self.step + 1) / (WARMUP + 1)
        part = (self.step - WARMUP) / (STEPS - WARMUP)
        return RATE * (0.1 + 0.45 * (1 + math.cos(math.pi * min(1.0, part))))

    def __call__(self) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate()
        x, y = self.batch()
        loss = F.cross_entropy(self.model(x).flatten(0, 1), y.flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1


def cases() -> Iterator[Case]:
    """One: the same model, text and optimizer in the engine."""
    text = "".join(random.Random(0).choices(CHARACTERS, k=SIZE))
    index = {character: i for i, character in enumerate(sorted(CHARACTERS))}
    stack = contextlib.ExitStack()
    atexit.register(stack.close)
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    (folder / "text.txt").write_text(text, encoding="utf-8")
    np.array([index[character] for character in text], dtype=np.uint16).tofile(folder / "text.bin")
    config = load_config(
        {
            "model": {"name": "gpt2", "layers": LAYERS, "width": WIDTH, "heads": HEADS},
            "task": {"name": "char_lm", "path": str(folder / "text.txt"), "seq_len": LENGTH},
            "optim": {"name": "adamw", "lr": RATE, "weight_decay": DECAY},
            "train": {
                "steps": 1_000_000,
                "batch_size": BATCH,
                "warmup": WARMUP,
                "clip": CLIP,
                "precision": "fp32",
                "compile": "off",
            },
        }
    )
    steps = stack.enter_context(training_steps(config, "cpu"))
    yield Case(
        name=f"training step, {LAYERS} layers x {WIDTH}, {BATCH} sequences of {LENGTH}",
        candidate=lambda: steps.make(1),
        baseline=Loop(folder / "text.bin", len(index)),
        baseline_name="a loop as of nanoGPT",
        cost=1.03,
        clock="cpu",
        note="CPU time",
    )
