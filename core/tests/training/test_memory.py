"""What a model carries from one batch to the next, or changes while it is evaluated, is told once and recorded."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from kit_specimens.leaks import Adding, CarriedState
from toy import toy_config
from training.specimen_runs import config_of, finished

from lot.contracts import Dims
from lot.options.declare import NoOptions


class CountsCalls(Adding):
    """Counts its calls in a buffer, which changes no output."""

    def __init__(self, config: NoOptions, dims: Dims) -> None:
        super().__init__(config, dims)
        self.register_buffer("calls", torch.zeros(()))

    def extra(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return torch.zeros_like(x)


class RunningMean(CountsCalls):
    """Adds a mean over the batches before, while it is trained and while it is evaluated."""

    def extra(self, x: torch.Tensor) -> torch.Tensor:
        before = self.calls.clone()
        self.calls.lerp_(x.detach().square().mean() * x[0, 0, 0].detach(), 0.5)
        return before + torch.zeros_like(x)


@pytest.mark.parametrize(
    ("attention", "names", "how"),
    [
        (CarriedState, ["carried"], "carried from one batch to the next"),
        (RunningMean, ["calls"], "carried from one batch to the next"),
        (CountsCalls, ["calls"], "changed by an evaluation"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_memory_is_told_once_and_recorded(attention: type, names: list[str], how: str, tmp_path: Path) -> None:
    done = finished(config_of(attention=attention), tmp_path / "x")
    assert done.facts["memory"] == [f"blocks.{layer}.attention.{name}" for layer in (0, 1) for name in names]
    assert len(done.warnings) == 1
    assert f"blocks.0.attention.{names[0]}" in done.warnings[0]
    assert how in done.warnings[0]
    assert done.facts["leak"] is False


def test_a_model_without_memory_records_none(tmp_path: Path) -> None:
    assert finished(toy_config(), tmp_path / "x").facts["memory"] == []
