"""The `vanilla` model at GPT-2-small shape against a plain GPT-2 written for this comparison: forward and backward.

The plain model is what a reader would write after the GPT-2 paper: fused QKV, scaled_dot_product_attention, GELU, learned
positions, pre-norm, untied head. Same shapes, same numbers of parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lot.builtin.config import VanillaConfig
from lot.contracts import Dims
from lot.model.decoder import Decoder
from lot.options.declare import NoOptions
from lot_cli.bench import Case

WIDTH, HEADS, LAYERS, VOCABULARY = 768, 12, 12, 50257


class PlainBlock(nn.Module):
    """A block of GPT-2."""

    def __init__(self) -> None:
        super().__init__()
        self.ln1, self.ln2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.fc, self.out = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        B, T, C = x.shape
        q, k, v = self.qkv(self.ln1(x)).split(C, dim=2)
        q, k, v = (z.view(B, T, HEADS, C // HEADS).transpose(1, 2) for z in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(B, T, C)
        x = x + self.proj(y)
        return x + self.out(F.gelu(self.fc(self.ln2(x)), approximate="tanh"))


class PlainGPT(nn.Module):
    """GPT-2 small."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self.wte, self.wpe = nn.Embedding(VOCABULARY, WIDTH), nn.Embedding(length, WIDTH)
        self.blocks = nn.Sequential(*(PlainBlock() for _ in range(LAYERS)))
        self.ln = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, VOCABULARY, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.wte(ids) + self.wpe(torch.arange(ids.shape[1], device=ids.device))
        return self.head(self.ln(self.blocks(x)))


def ours(length: int) -> Decoder:
    """The same model out of LOT's parts."""
    from lot.builtin.token import Token
    from lot.builtin.vanilla import Vanilla

    dims = Dims(width=WIDTH, heads=HEADS, max_len=length, vocab_size=VOCABULARY, layers=LAYERS)
    attentions = [Vanilla(VanillaConfig(), dims) for _ in range(LAYERS)]
    return Decoder.around(Token(NoOptions(), dims), attentions, dims)


def stepper(forward: Callable[[Tensor], Tensor], ids: Tensor, bf16: bool) -> Callable[[], None]:
    """Forward and backward of the mean cross-entropy."""

    def step() -> None:
        with torch.autocast(ids.device.type, torch.bfloat16, enabled=bf16):
            loss = F.cross_entropy(forward(ids).flatten(0, 1).float(), ids.flatten())
        loss.backward()

    return step


def cases() -> Iterator[Case]:
    """On a GPU as people train it (bf16, compiled), else a small batch on the CPU."""
    gpu = torch.cuda.is_available()
    batch, length, device = (16, 1024, "cuda") if gpu else (1, 256, "cpu")
    ids = torch.randint(VOCABULARY, (batch, length), device=device)
    plain, model = PlainGPT(length).to(device), ours(length).to(device)
    assert sum(p.numel() for p in plain.parameters()) == sum(p.numel() for p in model.parameters())
    if gpu:
        plain, model = torch.compile(plain), torch.compile(model)  # type: ignore[assignment]
    yield Case(
        name=f"forward and backward, 12 layers x 768, batch {batch} x {length}",
        candidate=stepper(lambda x: model(x).logits, ids, gpu),
        baseline=stepper(plain, ids, gpu),
        baseline_name="plain GPT-2",
        cost=1.05,
        device=device,
    )
