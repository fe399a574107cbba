"""The core's MLPs: those of GPT-2 and of Llama."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

from lot.contracts import MLP, Context, Dims, GeneratorFor
from lot.options.declare import NoOptions


class GeluMLP(MLP):
    """Two linear maps with a GELU (tanh form, as GPT-2) between them."""

    def __init__(self, config: NoOptions, dims: Dims) -> None:
        super().__init__()
        self.up = nn.Linear(dims.width, dims.hidden, bias=dims.bias)
        self.down = nn.Linear(dims.hidden, dims.width, bias=dims.bias)
        self.down_std = 0.02 / math.sqrt(2 * dims.layers)

    def reset_parameters(self, generator_for: GeneratorFor) -> None:
        """GPT-2's values; the output, which adds to the residual stream, scaled by 1/sqrt(2L)."""
        super().reset_parameters(generator_for)
        nn.init.normal_(self.down.weight, std=self.down_std, generator=generator_for("down.weight"))

    def forward(self, x: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        """y (B, T, D); no signals."""
        return self.down(F.gelu(self.up(x), approximate="tanh")), {}


class SwiGLU(MLP):
    """down(silu(gate(x)) up(x))."""

    def __init__(self, config: NoOptions, dims: Dims) -> None:
        super().__init__()
        self.gate = nn.Linear(dims.width, dims.hidden, bias=dims.bias)
        self.up = nn.Linear(dims.width, dims.hidden, bias=dims.bias)
        self.down = nn.Linear(dims.hidden, dims.width, bias=dims.bias)
        self.down_std = 0.02 / math.sqrt(2 * dims.layers)

    def reset_parameters(self, generator_for: GeneratorFor) -> None:
        """As `GeluMLP`."""
        super().reset_parameters(generator_for)
        nn.init.normal_(self.down.weight, std=self.down_std, generator=generator_for("down.weight"))

    def forward(self, x: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
        """y (B, T, D); no signals."""
        return self.down(F.silu(self.gate(x)) * self.up(x)), {}
