"""Tests never touch the user's cache, and leave the cores to others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lot import Component, Task
from lot_tasks import plugin

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache folder of this test."""
    monkeypatch.setenv("LOT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def components() -> dict[str, Component]:
    return {component.name: component for component in plugin.lot_tasks()}


@pytest.fixture
def build(components: dict[str, Component]) -> Callable[..., Task]:
    """build(name, seed=0, **options): a task."""

    def make(name: str, seed: int = 0, **options: Any) -> Task:
        return components[name].build(seed, **options)  # type: ignore[no-any-return]

    return make
