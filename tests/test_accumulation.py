"""Micro-steps train as one large batch does, to rounding, whatever is scored in each; what cannot is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support import TINY

import lot
from lot.devices.processes import Team
from lot.runs.directory import RunDir
from lot.training.compose import compose
from lot.training.interruption import StopSignal
from lot.training.trainer import Trainer

UNEVEN = {"name": "fuzzy_recall_corrected", "seq_len": 32}
PHASES = ("sync", "diversity", "phase_regularization", "spatial_coherence")
SCHEDULE = {"kind": "linear", "over": 3}
LAMBDAS = {"lambda_phase": 0.3, "lambda_energy": 0.3, "lambda_harmonic": 0.3}
ARMS: dict[str, dict[str, Any]] = {
    "vanilla": {},
    "lattice": {"attn": {"name": "lattice"}, "losses": {name: {"weight": 0.3} for name in PHASES}},
    "phase": {"attn": {"name": "phase"}, "losses": {"sync": {"weight": 0.3, "schedule": SCHEDULE}}},
    "wave": {
        "attn": {"name": "interference"},
        "embed": {"name": "wave_packet"},
        "losses": {"wave_coherence": LAMBDAS},
    },
}


def stepped(arm: dict[str, Any], folder: Path, batch_size: int, accumulate: int, wide: bool) -> dict[str, torch.Tensor]:
    """What two steps log together: loss, terms, and the gradient norm."""
    train = {**TINY["train"], "batch_size": batch_size, "accumulate": accumulate, "clip": None}
    model = {**TINY["model"], "dropout": 0.0}
    config = lot.load_config({**TINY, "seed": 3, "task": UNEVEN, "model": model, **arm, "train": train})
    composition = compose(config)
    if wide:
        composition.model.double()
    team = Team(0, 1, torch.device("cpu"))
    trainer = Trainer(composition, RunDir(folder), team, lambda event, facts: None, StopSignal())
    trainer.train_step()
    trainer.train_step()
    return trainer.progress.sums


@pytest.mark.parametrize(("wide", "tolerance"), [(True, 1e-10), (False, 1e-5)], ids=["float64", "float32"])
@pytest.mark.parametrize("arm", ARMS)
def test_micro_steps_are_one_large_batch(arm: str, wide: bool, tolerance: float, tmp_path: Path) -> None:
    whole = stepped(ARMS[arm], tmp_path / "whole", 8, 1, wide)
    for accumulate in (2, 4):
        parts = stepped(ARMS[arm], tmp_path / str(accumulate), 8 // accumulate, accumulate, wide)
        assert parts.keys() == whole.keys()
        for name, value in whole.items():
            torch.testing.assert_close(parts[name], value, rtol=tolerance, atol=0.01 * tolerance, msg=name)


def test_rows_of_this_task_do_differ_in_what_is_scored() -> None:
    """Without that, the test above could not fail."""
    task = lot.build_task(lot.load_config({**TINY, "task": UNEVEN}))
    batch = task.batch("train", 0, 8)
    assert len(set((batch.targets != lot.IGNORED).sum(1).tolist())) > 1


@pytest.mark.parametrize(
    ("losses", "told"),
    [
        ({"coherence": {}}, "losses.coherence: cannot be computed in micro-steps: it is no mean over the batch"),
        (
            {"sync": {"schedule": {"kind": "adaptive"}}},
            "losses.sync: cannot be computed in micro-steps: its adaptive schedule depends on the order parameter",
        ),
    ],
)
def test_what_depends_on_the_whole_batch_is_refused_before_anything_starts(
    losses: dict[str, Any], told: str, tmp_path: Path
) -> None:
    train = {**TINY["train"], "accumulate": 2}
    config = lot.load_config({**TINY, "attn": {"name": "lattice"}, "losses": losses, "train": train})
    with pytest.raises(lot.BadInput, match=told):
        lot.train(config, tmp_path / "x")
    assert not (tmp_path / "x").exists()
