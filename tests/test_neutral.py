"""Mechanisms that are left out: what `train.neutral` trains, what it refuses, and what `lot show` says of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from support import Lot, sets

import lot
from lot.errors import BadInput
from lot.model.neutral import distance_from_vanilla, vanilla_twin
from lot.plugins.registry import registry
from lot.random import isolated
from lot.testing.case import DIMS

RUN = ["run", "--task", "copy_reverse", *sets(), "--set", "optim.lr=0.02"]
CONFIGURED = [
    ("lattice", {}),
    ("lattice", {"score": "neighbors"}),
    ("lattice", {"score": "head"}),
    ("lattice", {"dynamics": "relax"}),
    ("hybrid", {"inner": {"name": "lattice"}}),
    ("toroidal", {"window": 4}),
    ("toroidal", {"form": "published"}),
    ("toroidal_adaptive", {"route": True}),
]


def rows(run: str) -> list[dict[str, object]]:
    """The losses that a run logged."""
    lines = Path(run, "metrics.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if "split" in row]


def test_a_neutral_run_trains_what_vanilla_trains_to_the_bit_and_says_so(lot: Lot) -> None:
    """In parts too: it goes on from its checkpoint as what it was."""
    neutral = [*RUN, "--attn", "lattice", "--set", "train.neutral=true", "--run-dir", "n"]
    done = lot(*neutral)
    assert done.returncode == 0, done.stderr
    assert "lattice (held neutral: it computes vanilla attention)" in " ".join(done.stderr.split())
    assert "neutral: true" in Path("n/config.yaml").read_text()
    assert lot(*RUN, "--attn", "vanilla", "--run-dir", "v").returncode == 0
    for ours, its in zip(rows("n"), rows("v"), strict=True):
        assert ours == its
    assert lot(*RUN, "--attn", "lattice", "--run-dir", "l").returncode == 0
    assert rows("l") != rows("v")
    with_neutral, without = (json.loads(lot("ablate", run, "--json").stdout) for run in ("n", "l"))
    assert all(damage["change"] == 0 for damage in with_neutral["damages"]), "the loaded model is held neutral as well"
    assert any(damage["change"] != 0 for damage in without["damages"])


def test_weights_that_cannot_act_stay_as_they_began(tmp_path: Path) -> None:
    """No weight decay, no step of an optimizer: they get no gradient."""
    config = lot.load_config(tree({"attn": {"name": "toroidal", "depth": 2}, "train": {"neutral": True, "steps": 4}}))
    lot.train(config, tmp_path / "r")
    trained, initial = lot.load_run(tmp_path / "r", device="cpu").model, lot.build_model(config)
    moved = {
        name
        for (name, p), q in zip(trained.named_parameters(), initial.parameters(), strict=True)
        if not torch.equal(p, q)
    }
    assert not {name for name in moved if ".fusion." in name}
    assert "blocks.0.attention.heads.qkv.weight" in moved


def tree(changes: dict[str, object]) -> dict[str, object]:
    """A tiny run of copy_reverse with changes to its sections."""
    from support import TINY

    merged = {key: dict(value) for key, value in TINY.items()}
    for key, value in changes.items():
        merged[key] = {**merged.get(key, {}), **value}  # type: ignore[dict-item]
    return merged  # type: ignore[return-value]


@pytest.mark.parametrize("name", ["pure_wave", "phase", "toroidal_latent"])
def test_a_mechanism_without_a_neutral_form_is_refused_in_one_line(lot: Lot, name: str) -> None:
    done = lot(*RUN, "--attn", name, "--set", "train.neutral=true", "--run-dir", "r")
    assert done.returncode == 2
    assert "attn: this attention has no neutral form" in done.stderr
    assert done.stderr.count("\n") <= 2
    assert not Path("r").exists()


def test_a_neutral_form_that_is_not_neutral_is_refused_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import contextlib

    from lot_lattice.attention.lattice import LatticeAttention

    monkeypatch.setattr(LatticeAttention, "neutral", lambda self: contextlib.nullcontext())
    config = lot.load_config(tree({"attn": {"name": "lattice"}, "train": {"neutral": True}}))
    with pytest.raises(BadInput, match=r"^attn: neutral\(\) of lattice is not neutral: its output differs .* by 0\."):
        lot.train(config, tmp_path / "r")
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("component", registry().components("attention"), ids=lambda component: component.name)
def test_what_lot_show_says_of_a_neutral_form_is_so(component: lot.Component) -> None:
    said = [note for note in component.notes if "neutral form" in note.lower()]
    assert len(said) == 1, "one note says what is left when the mechanism is left out, or that there is nothing"
    module = component.build(DIMS)
    if said[0].startswith("No neutral form: "):
        with pytest.raises(BadInput, match="no neutral form"), module.neutral():
            pass
    else:
        with module.neutral():
            assert distance_from_vanilla(module, DIMS) <= 1e-5


@pytest.mark.parametrize(("name", "options"), CONFIGURED)
def test_dropout_and_a_compiled_model_are_vanillas(name: str, options: dict[str, object]) -> None:
    dims = replace(DIMS, dropout=0.3, positions="rotary")
    module = registry().get("attention", name).build(dims, **options)
    x = torch.randn(2, 20, dims.width, generator=torch.Generator().manual_seed(0))
    with module.neutral():
        twin = vanilla_twin(module.train(), dims)
        compiled = torch.compile(module, backend="eager", fullgraph=True)
        found = []
        for which in (module, compiled, twin):
            with isolated(0, "dropout"):
                found.append(which(x, lot.Context())[0])
    assert torch.equal(found[0], found[2])
    assert torch.equal(found[1], found[2])
    assert not torch.equal(compiled(x, lot.Context())[0], found[2]), "outside of it the mechanism acts again"
