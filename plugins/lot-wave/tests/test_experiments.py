"""The experiments of this package: equal in all but the parts they are about, and each takes a step at a small size."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lot import Context, load_config, registry
from lot.config.yaml import read_yaml
from lot.training.compose import compose

FOLDER = Path(__file__).parents[3] / "experiments" / "wave"
FILES = sorted(path for path in FOLDER.glob("*.yaml") if "arms" not in read_yaml(path))
STUDIES = [FOLDER / "study.yaml", FOLDER / "study_small.yaml"]
PARTS = {
    "optimizer_only": {"optim"},
    "loss_only": {"losses"},
    "embedding_only": {"embed"},
    "attention_only": {"attn"},
    "full_physics": {"optim", "losses", "embed", "attn"},
    "published": {"optim", "losses", "embed", "attn"},
}

pytestmark = pytest.mark.skipif(
    not FILES or "char_lm" not in registry().names("task"), reason="needs the source tree and lot-tasks"
)


@pytest.fixture(scope="module")
def text(tmp_path_factory) -> Path:
    """A text whose end has no character that its beginning lacks."""
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("to be or not to be, that is the question. " * 200)
    return path


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_it_loads_and_takes_a_step(file, text):
    small = [
        "model.width=16",
        "model.layers=2",
        "train.batch_size=2",
        "task.seq_len=8",
        f"task.path={text}",
        "task.corpus=null",
    ]
    config = load_config(file, overrides=small)
    parts = compose(config)
    assert not parts.leak
    batch = parts.task.batch("train", 0, config.train.batch_size)
    parts.model.set_want(parts.objective.want)
    optimizer = config.optim.component.create(config.optim.options, parts.model)
    before = [parameter.detach().clone() for parameter in parts.model.parameters()]
    loss, _ = parts.objective(parts.model(batch.inputs, Context()), batch, Context(), 0)
    loss.backward()
    optimizer.step()
    assert torch.isfinite(loss)
    assert any(not torch.equal(old, new) for old, new in zip(before, parts.model.parameters(), strict=True))


def test_all_arms_have_equal_steps_tokens_data_and_model():
    plain = [load_config(file).to_dict() for file in FILES]
    for section in ("seed", "task", "model", "train"):
        assert all(config[section] == plain[0][section] for config in plain)


def test_each_arm_changes_the_parts_that_its_name_says():
    baseline = load_config(FOLDER / "baseline.yaml").to_dict()
    for file in FILES:
        config = load_config(file).to_dict()
        changed = {section for section in ("optim", "losses", "embed", "attn") if config[section] != baseline[section]}
        expected = {"attn"} if file.stem.startswith("pure_wave") else PARTS.get(file.stem, set())
        assert changed == expected, file.stem


@pytest.mark.parametrize("file", STUDIES, ids=lambda path: path.stem)
def test_studies_have_the_same_arms_and_tune_them_equally(file):
    study = read_yaml(file)
    kinds = {path.stem for path in FILES} - {"published"}
    grid = study["arms"]["pure_wave"]["grid"]
    names = {name for name in study["arms"] if name != "pure_wave"}
    for kernel in grid["attn.kernel"]:
        names |= {f"pure_wave_{kernel}_{on}" for on in grid["attn.kernel_on"]}
    assert names == kinds
    assert study["reference"] == "baseline"
    assert study["seeds"] >= 5
    # The rates that AdamW wants and those that momentum wants: every arm may try all.
    rates = study["tune"]["optim.lr"]
    assert min(rates) <= 3e-4 <= 1e-3 <= 0.1 <= max(rates)
    for arm in study["arms"].values():
        assert not {"task", "train", "model"} & set(arm)


def test_the_published_file_asks_for_every_published_form():
    config = load_config(FOLDER / "published.yaml").to_dict()
    asked = {
        "embed": {"form": "published"},
        "attn": {"evolution": "pairwise", "normalize": "energy", "bias": True, "own_keys": False},
        "optim": {"rank": None, "decay": "l2", "project": "all", "coherence_weight": 0.3},
    }
    for section, options in asked.items():
        assert {name: config[section][name] for name in options} == options
    loss = config["losses"]["wave_coherence"]
    assert (loss["variance"], loss["energy"]) == ("unbiased_angle", "absolute")
