"""What a check is given: a component with its options, and fresh inputs of the right shape, all keyed."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from lot.contracts import Attention, Context, Dims
from lot.errors import BadInput
from lot.plugins.component import Component
from lot.random import isolated, torch_generator
from lot.signals import SIGNALS, Signal
from lot.testing.failure import KitFailure, require

DIMS = Dims(width=64, heads=4, max_len=160, vocab_size=23, layer=1, layers=3)
"""The model around the module: heads 16 wide, which leaves room for platters and rotary pairs."""

SHORTEST = 8


@dataclass(frozen=True)
class Case:
    """A component under test.

    dims, device: for attention and embedding. signals: shapes of signals that the common table lacks, for a loss or a
    diagnostic that needs them. attention, embedding: parts of the model that a diagnostic measures; default the core's.
    """

    component: Component
    kind: str
    options: Mapping[str, Any] = field(default_factory=dict)
    dims: Dims = DIMS
    device: str = "cpu"
    signals: Mapping[str, Signal] = field(default_factory=dict)
    attention: Component | None = None
    embedding: Component | None = None

    def __post_init__(self) -> None:
        if self.dims.max_len < SHORTEST:
            raise BadInput(where="dims.max_len", expected=f"at least {SHORTEST} tokens to tell", got=self.dims.max_len)

    def build(self, *arguments: Any, seed: int = 0) -> Any:
        """The component, built for `arguments` and initialized."""
        return self.component.build(*arguments, seed=seed, **self.options)

    def module(
        self,
        *,
        dtype: torch.dtype = torch.float32,
        perturbed: bool = True,
        training: bool = False,
        seed: int = 0,
        **dims: Any,
    ) -> nn.Module:
        """An attention or embedding; `perturbed`: its parameters moved away from their initial values."""
        module: nn.Module = self.build(replace(self.dims, **dims), seed=seed)
        if perturbed:
            perturb(module)
        return module.to(self.device, dtype).train(training)

    def inputs(self, B: int, T: int, *key: str | int, dtype: torch.dtype = torch.float32, scale: float = 1.0) -> Tensor:
        """What the module reads, equal for equal keys: x (B, T, D) from N(0, scale^2); ids (B, T) for an embedding."""
        if self.kind == "embedding":
            generator = torch_generator(0, "kit", "ids", B, T, *key)
            return torch.randint(self.dims.vocab_size, (B, T), generator=generator).to(self.device)
        return scale * normal((B, T, self.dims.width), "inputs", *key, dtype=dtype, device=self.device)

    def context(self, *, step: int = 0, start: int = 0, padding: Tensor | None = None) -> Context:
        """A context on the device of the case."""
        return Context(torch.tensor(step, device=self.device), start, padding)

    def signal(self, name: str) -> Signal | None:
        """The shape and meaning of a signal, or None where nobody said."""
        return self.signals.get(name) or SIGNALS.get(name)

    @property
    def sizes(self) -> dict[str, int]:
        """Sizes of a signal's letters that the dimensions fix."""
        d = self.dims
        return {"D": d.width, "H": d.heads, "V": d.vocab_size, "L+1": d.layers + 1}


def normal(
    shape: tuple[int, ...], *key: str | int, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> Tensor:
    """Numbers from N(0, 1), the same for the same shape and key on every device and in every dtype up to rounding."""
    values = torch.randn(shape, generator=torch_generator(0, "kit", *shape, *key), dtype=torch.float64)
    return values.to(device, dtype)


def spread(parameter: Tensor) -> float:
    """How far to move a parameter so that it matters and nothing saturates.

    A matrix: 1 / sqrt(inputs), so that it maps unit variance to unit variance; else 0.3, or 0.3 of its own size.
    """
    if parameter.dim() >= 2:
        return 1.0 / math.sqrt(parameter.shape[-1])
    size = float(parameter.detach().double().square().mean().sqrt()) if parameter.numel() else 0.0
    return 0.3 * max(1.0, size if math.isfinite(size) else 1.0)


@torch.no_grad()
def perturb(module: nn.Module) -> None:
    """Add N(0, spread^2), keyed by name, to every parameter, so that gates which start at zero are open."""
    for name, parameter in module.named_parameters():
        if parameter.is_floating_point():
            parameter.add_(spread(parameter) * normal(tuple(parameter.shape), "perturb", name, dtype=parameter.dtype))


def call(module: nn.Module, inputs: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
    """y and signals of one pass; what is drawn from torch's default generator (dropout) is the same in every call."""
    with isolated(0, "kit", "pass"):
        result = module(inputs, ctx)
    require(
        isinstance(result, tuple) and len(result) == 2,
        "forward",
        expected="a pair (y, signals)",
        got=type(result).__name__,
    )
    y, signals = result
    require(isinstance(y, Tensor), "forward: y", expected="a tensor", got=type(y).__name__)
    require(isinstance(signals, dict), "forward: signals", expected="a dict", got=type(signals).__name__)
    return y, signals


def output(module: nn.Module, inputs: Tensor, ctx: Context) -> Tensor:
    """y of one pass."""
    return call(module, inputs, ctx)[0]


def as_attention(module: nn.Module) -> Attention:
    """The module itself, known to be an attention."""
    if not isinstance(module, Attention):
        raise KitFailure("factory", expected="a lot.Attention", got=type(module).__name__)
    return module


CheckFunction = Callable[[Case], None]
"""A check returns in silence, or raises KitFailure or NotApplicable. Its docstring says what it shows."""
