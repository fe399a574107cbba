"""What a check is given: a component with its options, and fresh inputs of the right shape.

Every input is keyed, so that a check which fails once fails again with the same numbers.
"""

from __future__ import annotations

import secrets
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
from lot.testing.draws import normal, perturb
from lot.testing.failure import KitFailure, require
from lot.testing.findings import Findings

DIMS = Dims(width=64, heads=4, max_len=264, vocab_size=23, layer=1, layers=3)
"""The model around the module under test: heads are 16 wide, which leaves room for platters and rotary pairs."""

SHORTEST = 8
"""Tokens without which the checks of causality and decoding have too little to compare."""


def fresh_seed() -> int:
    """A seed that no component can know in advance."""
    return secrets.randbits(32)


@dataclass(frozen=True)
class Case:
    """A component under test.

    kind: of the component. options: of the component. dims: the model around an attention or an embedding.
    device: where an attention or an embedding is built.
    signals: shapes of signals that the table `lot.signals` lacks, for a loss or a diagnostic that needs them.
    attention, embedding: what the model that a diagnostic measures is made of; default: the core's own.
    live: whether a recorder may leave a run where it sends what it is given.
    seed: of the points that are drawn over the axes of configuration; a fresh one unless it is given.
    findings: what checks tell beside their outcome.

    Raises BadInput where `dims.max_len` is too short.
    """

    component: Component
    kind: str
    options: Mapping[str, Any] = field(default_factory=dict)
    dims: Dims = DIMS
    device: str = "cpu"
    signals: Mapping[str, Signal] = field(default_factory=dict)
    attention: Component | None = None
    embedding: Component | None = None
    live: bool = False
    seed: int = field(default_factory=fresh_seed)
    findings: Findings = field(default_factory=Findings, compare=False)

    def __post_init__(self) -> None:
        if self.dims.max_len < SHORTEST:
            raise BadInput(where="dims.max_len", expected=f"at least {SHORTEST} tokens", got=self.dims.max_len)

    def tell(self, note: str) -> None:
        """Say what a user should know although the check passes: one line, which the outcome of the check carries."""
        self.findings.tell(note)

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
        """An attention or embedding on the device of the case.

        perturbed: whether its parameters are moved away from their initial values. dims: changes to the case's.
        """
        module: nn.Module = self.build(replace(self.dims, **dims), seed=seed)
        if perturbed:
            perturb(module)
        return module.to(self.device, dtype).train(training)

    def inputs(self, B: int, T: int, *key: str | int, dtype: torch.dtype = torch.float32, scale: float = 1.0) -> Tensor:
        """What the module reads, equal for equal keys.

        For an attention x (B, T, D) from N(0, scale^2) in `dtype`; for an embedding ids (B, T) int64.
        """
        if self.kind == "embedding":
            generator = torch_generator(0, "kit", "ids", B, T, *key)
            return torch.randint(self.dims.vocab_size, (B, T), generator=generator).to(self.device)
        return scale * normal((B, T, self.dims.width), "inputs", *key, dtype=dtype, device=self.device)

    def context(self, *, step: int = 0, start: int = 0, padding: Tensor | None = None) -> Context:
        """A context on the device of the case."""
        return Context(torch.tensor(step, device=self.device), start, padding)

    def signal(self, name: str) -> Signal | None:
        """The shapes and the meaning of a signal, or None where neither the case nor the table has it."""
        return self.signals.get(name) or SIGNALS.get(name)

    def require_declared(self, needs: frozenset[str]) -> None:
        """Raise KitFailure unless the component declares all the signals that the built loss or diagnostic needs."""
        undeclared = sorted(needs - self.component.needs)
        require(
            not undeclared,
            f"needs of the {self.kind}",
            expected=f"only those of its component ({', '.join(sorted(self.component.needs)) or 'none'})",
            got=", ".join(undeclared),
            cause="Component(needs=...) that forgets a signal",
        )

    @property
    def sizes(self) -> dict[str, int]:
        """The sizes that the dimensions give to the letters in the shape of a signal."""
        d = self.dims
        return {"D": d.width, "H": d.heads, "V": d.vocab_size, "L+1": d.layers + 1}


def call(module: nn.Module, inputs: Tensor, ctx: Context) -> tuple[Tensor, dict[str, Tensor]]:
    """y and the signals of one pass; draws from torch's default generator (dropout) are the same in every call.

    Raises KitFailure where forward gives anything else than such a pair.
    """
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
    """The module itself, known to be an attention. Raises KitFailure where it is none."""
    if not isinstance(module, Attention):
        raise KitFailure("factory", expected="a lot.Attention", got=type(module).__name__)
    return module


CheckFunction = Callable[[Case], None]
"""A check returns in silence, or raises KitFailure or NotApplicable. Its docstring says what it shows."""
