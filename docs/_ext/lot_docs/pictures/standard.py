"""The picture of the baseline, and the tokens that all pictures are drawn for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

import lot
from lot.figure import SEQUENTIAL_MAP, new_figure
from lot.random import torch_generator

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def tokens(length: int, width: int, symbols: int, purpose: str) -> Tensor:
    """x (1, length, width): tokens drawn from `symbols` random vectors, the same for each `purpose`."""
    generator = torch_generator(0, "docs", purpose)
    vectors = torch.randn(symbols, width, generator=generator)
    return vectors[torch.randint(symbols, (length,), generator=generator)][None]


def build(name: str, dims: lot.Dims, want: str = "", **options: Any) -> lot.Attention:
    """The attention `name` with its initial values of seed 0, which gives the signal `want`."""
    attention: lot.Attention = lot.registry().get("attention", name).build(dims, **options)
    attention.want = frozenset({want} if want else ())
    return attention.eval()


def vanilla() -> tuple[Figure, str]:
    """Attention weights of one head for tokens of eight symbols."""
    dims = lot.Dims(width=32, heads=1, max_len=32, vocab_size=8)
    attention = build("vanilla", dims, "attention")
    with torch.no_grad():
        weights = attention(8 * tokens(32, 32, 8, "vanilla"), lot.Context())[1]["attention"][0, 0]
    figure, (axis,) = new_figure(size=(5.2, 4.2))
    image = axis.imshow(weights, cmap=SEQUENTIAL_MAP, vmin=0, vmax=0.5)
    axis.set(xlabel="position of the key (tokens)", ylabel="position of the query (tokens)")
    axis.set_title("Attention weights of one head")
    axis.grid(visible=False)
    figure.colorbar(image, ax=axis, label="weight (each row sums to 1)", extend="max")
    return figure, (
        "Initial weights of one head for 32 tokens drawn from eight symbols. Nothing lies above the diagonal: no token "
        "sees a later one. Tokens of one symbol are vectors of one value, so their columns are alike."
    )
