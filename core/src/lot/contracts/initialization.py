"""Initial values of parameters, as every module sets them unless it says otherwise."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

GeneratorFor = Callable[[str], torch.Generator]
"""Gives the generator of a parameter's initial value, keyed by the name of the parameter: `generator_for("out.weight")`."""


def reset_standard(module: nn.Module, generator_for: GeneratorFor) -> None:
    """GPT-2's initial values: weights of linear maps and embeddings from N(0, 0.02), biases 0, norms at identity."""
    for path, child in module.named_modules():
        dot = f"{path}." if path else ""
        if isinstance(child, (nn.Linear, nn.Embedding)):
            nn.init.normal_(child.weight, std=0.02, generator=generator_for(f"{dot}weight"))
            if getattr(child, "bias", None) is not None:
                nn.init.zeros_(child.bias)  # type: ignore[arg-type]
        elif isinstance(child, (nn.LayerNorm, nn.RMSNorm)):
            child.reset_parameters()
