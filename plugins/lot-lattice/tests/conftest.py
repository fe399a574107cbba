"""Fixtures shared by the tests of this package."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lot import Context, Dims
from lot_lattice.attention.hybrid import HybridAttention
from lot_lattice.attention.lattice import LatticeAttention
from lot_lattice.attention.phase import PhaseAttention
from lot_lattice.config import HybridConfig, LatticeConfig, PhaseConfig


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Small tensors: one thread is faster than several that wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Make:
    """Modules and inputs from fresh randomness."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator

    def normal(self, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
        return torch.randn(shape, generator=self.generator, dtype=dtype)

    def dims(self, **changes: Any) -> Dims:
        return Dims(**{"width": 16, "heads": 4, "max_len": 32, "vocab_size": 11, **changes})

    def perturbed(self, module: nn.Module, scale: float = 0.3) -> Any:
        """`module` in float64, every parameter moved away from where initialization would put it, evaluating."""
        module.double().eval()
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.copy_(scale * self.normal(*parameter.shape))
        return module

    def decoded(self, module: Any, x: Tensor, prompt: int = 4) -> tuple[Tensor, Any]:
        """y of x (B, T, D) by a prefill of `prompt` tokens and one decode for each other token; and the last cache."""
        cache = module.init_cache(x.shape[0], "cpu", x.dtype)
        y, cache = module.prefill(x[:, :prompt], Context(), cache)
        pieces = [y]
        for t in range(prompt, x.shape[1]):
            y, cache = module.decode(x[:, t : t + 1], Context(start=t), cache)
            pieces.append(y)
        return torch.cat(pieces, dim=1), cache

    def lattice(self, of: Dims | None = None, **options: Any) -> LatticeAttention:
        return self.perturbed(LatticeAttention(LatticeConfig(**options), of or self.dims()))

    def phase(self, of: Dims | None = None, **options: Any) -> PhaseAttention:
        options = {"oscillators": 3, "iterations": 4, **options}
        return self.perturbed(PhaseAttention(PhaseConfig(**options), of or self.dims()))

    def hybrid(self, of: Dims | None = None, **options: Any) -> HybridAttention:
        options = {"phase": {"oscillators": 3}, **options}
        return self.perturbed(HybridAttention(HybridConfig(**options), of or self.dims()))


@pytest.fixture
def make(record_property) -> Make:
    """Fresh randomness on every run; the seed stands in the report of a failure."""
    seed = secrets.randbits(31)
    record_property("seed", seed)
    print(f"seed {seed}")
    return Make(torch.Generator().manual_seed(seed))
