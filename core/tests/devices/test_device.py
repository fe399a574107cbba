"""Devices by name."""

from __future__ import annotations

import pytest
import torch

from lot.devices.device import choose_device
from lot.errors import BadInput


@pytest.mark.parametrize("name", ["meta", "nonsense", "cuda:99", "cpu:x"])
def test_a_device_that_cannot_compute_is_refused_with_those_that_can(name: str) -> None:
    with pytest.raises(BadInput, match=f"--device: expected one of auto, cpu.*got '{name}'"):
        choose_device(name)


def test_the_gpu_of_a_mac_is_named_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    with pytest.raises(BadInput, match=r"cpu.*mps, got 'meta'"):
        choose_device("meta")
