"""A diagnostic measures: one that trains, looks at the test split or leaves anything behind ends the run."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from kit_specimens.leaks import Honest
from torch import Tensor
from training.specimen_runs import config_of, finished

from lot.contracts import Diagnostic, Probe
from lot.errors import RunFailed
from lot.options.declare import NoOptions
from lot.runs.directory import RunDir
from lot.training.train import train


class Cheat(Diagnostic):
    """Measures nothing, and does something else."""

    def __init__(self, config: NoOptions) -> None:
        pass

    def measure(self, probe: Probe) -> dict[str, Tensor]:
        self.act(probe)
        return {"nothing": torch.zeros(())}

    def act(self, probe: Probe) -> None:
        raise NotImplementedError


class Trains(Cheat):
    """Takes a step."""

    def act(self, probe: Probe) -> None:
        parameters = dict(probe.model.named_parameters())
        for name, gradient in probe.gradients().items():
            parameters[name].data -= 1e-3 * gradient


class TrainsALargeModel(Cheat):
    """Moves a parameter by a little."""

    def act(self, probe: Probe) -> None:
        next(probe.model.parameters()).data[0, 0] += 1e-6


class FillsGradients(Cheat):
    """Leaves gradients, which would be added to those of the next step."""

    def act(self, probe: Probe) -> None:
        with torch.enable_grad():
            probe.model(probe.batch.inputs, probe.ctx).logits.sum().backward()


class ReadsTest(Cheat):
    """Asks for the test split."""

    def act(self, probe: Probe) -> None:
        probe.task.batch("test", 0, 4)


class ReadsTestSilently(Cheat):
    """Asks for the test split, and hides the refusal."""

    def act(self, probe: Probe) -> None:
        with contextlib.suppress(Exception):
            probe.task.length("test")


class LeavesHook(Cheat):
    """Leaves a hook that would scale what a module gives."""

    def act(self, probe: Probe) -> None:
        probe.model.blocks[1].register_forward_hook(lambda module, inputs, output: None)


class LeavesGradientHook(Cheat):
    """Leaves a hook that scales gradients."""

    def act(self, probe: Probe) -> None:
        next(probe.model.parameters()).register_hook(lambda gradient: 2 * gradient)


class ReplacesForward(Cheat):
    """Replaces what a module computes."""

    def act(self, probe: Probe) -> None:
        module = probe.model.norm
        module.forward = lambda x: x


class StaysInTraining(Cheat):
    """Leaves a module in training mode."""

    def act(self, probe: Probe) -> None:
        probe.model.blocks[0].train()


class Freezes(Cheat):
    """Stops the training of a parameter."""

    def act(self, probe: Probe) -> None:
        probe.model.blocks[0].norm_mlp.weight.requires_grad_(False)


class SeedsTorch(Cheat):
    """Reseeds torch."""

    def act(self, probe: Probe) -> None:
        torch.manual_seed(3)


class SeedsNumpy(Cheat):
    """Reseeds NumPy."""

    def act(self, probe: Probe) -> None:
        np.random.seed(3)


class DrawsFromPython(Cheat):
    """Draws from Python's generator."""

    def act(self, probe: Probe) -> None:
        random.random()


class OnlyMeasures(Cheat):
    """Uses all that a diagnostic may use."""

    def act(self, probe: Probe) -> None:
        assert probe.task.length("validation") == 10
        assert probe.task.batch("train", 3, 2).inputs.shape == (2, probe.task.seq_len)
        assert probe.task.decode([1, 2]) == "1 2"
        assert probe.task.seed == 0  # type: ignore[attr-defined]
        assert "loss" in probe.task.metrics()
        hook = probe.model.register_forward_hook(lambda module, inputs, output: None)
        probe.model(probe.batch.inputs, probe.ctx)
        hook.remove()
        probe.gradients()
        torch.rand(3)  # the generator is set aside for a diagnostic


@pytest.mark.parametrize(
    ("diagnostic", "words"),
    [
        (Trains, ["parameter embedding.table.weight"]),
        (FillsGradients, ["the gradient of"]),
        (ReadsTest, ["asked for the test split"]),
        (ReadsTestSilently, ["asked for the test split"]),
        (LeavesHook, ["a hook on blocks.1"]),
        (LeavesGradientHook, ["a hook on parameter"]),
        (ReplacesForward, ["the forward of norm"]),
        (StaysInTraining, ["the training mode of blocks.0"]),
        (Freezes, ["whether parameter blocks.0.norm_mlp.weight is trained"]),
        (SeedsTorch, ["the generator of torch"]),
        (SeedsNumpy, ["the generator of numpy"]),
        (DrawsFromPython, ["the generator of python"]),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_a_diagnostic_that_does_more_than_measure_ends_the_run(
    diagnostic: type, words: list[str], tmp_path: Path
) -> None:
    with pytest.raises(RunFailed) as ended:
        train(config_of(diagnostic=diagnostic), tmp_path / "x")
    told = str(ended.value)
    assert all(word in told for word in ["diagnostic specimen", *words]), told
    assert RunDir(tmp_path / "x").status()["exit_code"] == 3


def test_a_small_change_of_a_large_tensor_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lot.training.protection.COPIED", 10)
    with pytest.raises(RunFailed, match=r"parameter embedding\.table\.weight$"):
        train(config_of(diagnostic=TrainsALargeModel), tmp_path / "x")


def test_a_diagnostic_that_measures_is_let_be(tmp_path: Path) -> None:
    done = finished(config_of("train.eval_every=3", diagnostic=OnlyMeasures, attention=Honest), tmp_path / "x")
    assert done.warnings == []
    assert [row["step"] for row in RunDir(tmp_path / "x").rows() if "diagnostic" in row] == [0, 4, 6]
