"""`lot ablate`: what damage costs, measured by hand beside it."""

from __future__ import annotations

import json

import pytest
import torch
from support import Lot, sets

import lot
from lot.model.measure import measure_split

RUN = ["run", "--task", "copy_reverse", *sets(), "--set", "train.steps=12", "--set", "optim.lr=0.02", "--run-dir", "r"]


def loss_of(run: lot.RecordedRun) -> float:
    """The loss on validation, as a run measures it."""
    limit = run.config.train.eval_examples
    cpu = torch.device("cpu")
    options = {"batch_size": run.config.train.batch_size, "device": cpu, "precision": "fp32", "step": run.step}
    return measure_split(run.model, run.task, "validation", limit=limit, **options)["loss"]  # type: ignore[arg-type]


@pytest.fixture
def run(lot: Lot) -> Lot:
    """The command line in a folder with a run of lattice attention in `r`."""
    done = lot(*RUN, "--attn", "lattice")
    assert done.returncode == 0, done.stderr
    return lot


def test_damage_is_what_putting_a_parameter_back_costs(run: Lot) -> None:
    found = json.loads(run("ablate", "r", "--json", "--draws", "2").stdout)
    recorded = lot.load_run("r", device="cpu")
    assert found["loss"] == pytest.approx(loss_of(recorded), rel=1e-6)
    damages = {damage["what"]: damage for damage in found["damages"]}
    assert {"state, drawn at random", "alpha", "coupling", "drive.weight", "all of these parameters"} <= set(damages)
    assert not {name for name in damages if name.startswith("heads.")}, (
        "what vanilla has too is no part of the mechanism"
    )
    initial = lot.build_model(recorded.config)
    for attention, fresh in zip(recorded.model.attentions.values(), initial.attentions.values(), strict=True):
        attention.get_parameter("alpha").data.copy_(fresh.get_parameter("alpha").data)
    assert damages["alpha"]["losses"] == [pytest.approx(loss_of(recorded), rel=1e-6)]
    assert damages["alpha"]["change"] == pytest.approx(loss_of(recorded) - found["loss"], abs=1e-6)
    state = damages["state, drawn at random"]
    assert state["layers"] == [0, 1]
    assert len(state["losses"]) == 2
    assert state["losses"][0] != state["losses"][1]
    again = json.loads(run("ablate", "r", "--json", "--draws", "2").stdout)
    assert again == found, "damage is keyed, and it is undone"


def test_people_see_a_table_and_vanilla_has_nothing_to_damage(run: Lot) -> None:
    assert "drive.weight" in run("ablate", "r").stdout
    done = run(*RUN[:-1], "v", "--attn", "vanilla")
    assert done.returncode == 0, done.stderr
    said = run("ablate", "v").stdout
    assert "there is nothing to damage" in " ".join(said.split())


def test_no_run_is_one_line(lot: Lot) -> None:
    done = lot("ablate", "absent")
    assert done.returncode == 2
    assert done.stderr.count("\n") <= 2
    assert "no run there" in done.stderr
