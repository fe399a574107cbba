"""Randomness keyed by purpose: every use derives its generator from (seed, purpose, ...), so nothing has to be saved."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import operator
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch
    from torch import nn


def derive(seed: int, *purpose: str | int) -> int:
    """A 64-bit key for (seed, purpose): equal on every machine, independent between purposes."""
    parts = [part if isinstance(part, str) else operator.index(part) for part in (seed, *purpose)]
    text = repr(tuple(parts)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little")


def numpy_generator(seed: int, *purpose: str | int) -> np.random.Generator:
    """A counter-based (Philox) numpy generator for (seed, purpose); what data is drawn from."""
    return np.random.Generator(np.random.Philox(key=derive(seed, *purpose)))


def torch_generator(seed: int, *purpose: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """A torch generator for (seed, purpose) on `device`."""
    import torch

    return torch.Generator(device).manual_seed(derive(seed, *purpose) >> 1)


@contextlib.contextmanager
def isolated(seed: int, *purpose: str | int) -> Iterator[None]:
    """A context in which torch's default CPU generator is keyed by (seed, purpose); afterwards it is as it was."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive(seed, *purpose) >> 1)
        yield


STORED = 1 << 16
"""The largest permutation that is simply stored."""


def permutation(indices: np.ndarray, size: int, seed: int, *purpose: str | int) -> np.ndarray:
    """Positions of `indices` (int64, each in [0, size)) in a keyed permutation of range(size).

    Beyond `STORED` nothing is stored: a four-round Feistel network over the next even number of bits, walked until it
    lands inside (Black and Rogaway, "Ciphers with arbitrary finite domains", 2002). Every index has its own image.
    """
    if size < 1:
        raise ValueError(f"size: expected a number >= 1, got {size}")
    if size <= STORED:
        images: np.ndarray = _stored_permutation(size, derive(seed, *purpose, "order"))[indices]
        return images
    half = ((size - 1).bit_length() + 1) // 2
    mask = np.uint64((1 << half) - 1)
    shift = np.uint64(half)
    keys = [np.uint64(derive(seed, *purpose, "feistel", i)) for i in range(4)]
    value = np.array(indices, dtype=np.uint64)
    outside = np.ones(value.shape, dtype=bool)
    while outside.any():
        left, right = value[outside] >> shift, value[outside] & mask
        for key in keys:
            left, right = right, left ^ (_splitmix(right ^ key) & mask)
        value[outside] = (left << shift) | right
        outside = value >= np.uint64(size)
    return value.astype(np.int64)


@functools.lru_cache(maxsize=8)
def _stored_permutation(size: int, key: int) -> np.ndarray:
    return np.random.Generator(np.random.Philox(key=key)).permutation(size)


def _splitmix(x: np.ndarray) -> np.ndarray:
    """The finalizer of splitmix64 (Steele, Lea and Flood, 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: np.ndarray = x ^ (x >> np.uint64(31))
    return mixed


def initialize(module: nn.Module, seed: int, prefix: str = "") -> None:
    """Call `module.reset_parameters`, with generators keyed by `prefix` + the name of each parameter."""
    reset = module.reset_parameters
    reset(lambda name: torch_generator(seed, "init", prefix + name))  # type: ignore[operator]
