"""Fixtures shared by the tests of this package."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lot import Dims
from lot_wave.attention.interference import InterferenceAttention
from lot_wave.attention.pure_wave import PureWaveAttention
from lot_wave.config import InterferenceConfig, PureWaveConfig, WavePacketConfig
from lot_wave.ops.waves import Waves
from lot_wave.wave_packet import WavePacket


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

    def ids(self, vocab_size: int, *shape: int) -> Tensor:
        return torch.randint(vocab_size, shape, generator=self.generator)

    def dims(self, **changes: Any) -> Dims:
        return Dims(**{"width": 16, "heads": 2, "max_len": 40, "vocab_size": 11, **changes})

    def waves(self, B: int, H: int, T: int, W: int, dtype: torch.dtype = torch.float64) -> Waves:
        """Leaves that need gradients: amplitudes above 0, frequencies of some tenths of a radian per token."""
        parts = [self.normal(B, H, T, W, dtype=dtype) for _ in range(3)]
        amplitude = torch.nn.functional.softplus(parts[0])
        return Waves(*(x.requires_grad_() for x in (amplitude, 0.4 * parts[1], 3 * parts[2])))

    def perturbed(self, module: nn.Module, scale: float = 0.3) -> Any:
        """`module` in float64, every parameter moved away from where initialization would put it, evaluating."""
        module.double().eval()
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.copy_(scale * self.normal(*parameter.shape))
        return module

    def interference(self, of: Dims | None = None, **options: Any) -> InterferenceAttention:
        return self.perturbed(InterferenceAttention(InterferenceConfig(**{"waves": 3, **options}), of or self.dims()))

    def pure_wave(self, of: Dims | None = None, **options: Any) -> PureWaveAttention:
        return self.perturbed(PureWaveAttention(PureWaveConfig(**{"waves": 3, **options}), of or self.dims()))

    def packets(self, of: Dims | None = None, **options: Any) -> WavePacket:
        config = WavePacketConfig(**{"waves": 5, "harmonics": 3, **options})
        module = WavePacket(config, of or self.dims())
        module.reset_parameters(lambda name: self.generator)
        return module


@pytest.fixture
def make(record_property: Any) -> Make:
    """Fresh randomness on every run; the seed stands in the report of a failure."""
    seed = secrets.randbits(31)
    record_property("seed", seed)
    print(f"seed {seed}")
    return Make(torch.Generator().manual_seed(seed))


def close(found: Tensor, expected: Tensor, tolerance: float) -> None:
    """Equal to within `tolerance` of the largest expected value."""
    found, expected = found.detach().double(), expected.detach().double()
    scale = max(float(expected.abs().max()), 1e-30)
    difference = float((found - expected).abs().max())
    assert difference <= tolerance * scale, f"differs by {difference / scale:.3g} of the largest value"


@pytest.fixture(name="close")
def _close() -> Any:
    return close
