"""What the tests of this package share."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator

import attrs
import pytest
import torch
from torch import Tensor

from lot import Component
from lot_toroidal import plugin


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Small tensors, and processors shared with others."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def attention() -> Callable[[str], Component]:
    """The attention component of a name."""
    found = {component.name: attrs.evolve(component, kind="attention") for component in plugin.lot_attentions()}
    return found.__getitem__


@pytest.fixture
def diagnostic() -> Callable[[str], Component]:
    """The diagnostic component of a name."""
    found = {component.name: attrs.evolve(component, kind="diagnostic") for component in plugin.lot_diagnostics()}
    return found.__getitem__


@pytest.fixture
def draw() -> Callable[..., Tensor]:
    """Normal random numbers from a fresh seed, which a failing test prints."""
    seed = secrets.randbits(48)
    print(f"seed {seed}")
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int, dtype: torch.dtype = torch.float64, grad: bool = False) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype).requires_grad_(grad)

    return normal
