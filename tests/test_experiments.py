"""Every experiment that the repository ships loads as it is, and trains a step when it is scaled down."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support import ROOT

from lot.config.load import load_config
from lot.config.yaml import read_yaml
from lot.training.train import train

FILES = sorted((ROOT / "experiments").rglob("*.yaml"))
RUNS = [file for file in FILES if "arms" not in read_yaml(file)]


def small(config: Any) -> list[str]:
    """Overrides that make any experiment quick, and keep what it is about."""
    layers = min(config.sizes.layers, max([1, *config.attn_layers]) + 1)
    sizes = [f"model.width={config.sizes.heads * 8}", f"model.layers={layers}"]
    sizes.append(f"model.mlp_ratio={min(config.model.options.mlp_ratio, 1.0)}")
    training = ["steps=1", "batch_size=2", "accumulate=1", "eval_examples=2", "test=false", "compile=off"]
    text = ["task.corpus=pydoc", "task.seq_len=64"]
    task = {"char_lm": text, "word_lm": text}.get(config.task.name, [])
    return sizes + [f"train.{setting}" for setting in training] + task


@pytest.mark.parametrize("file", RUNS, ids=lambda file: str(file.relative_to(ROOT / "experiments")))
def test_it_loads_and_takes_a_step(file: Path, tmp_path: Path) -> None:
    config = load_config(file)
    assert load_config(config.to_dict()) == config
    tiny = load_config(file, overrides=small(config))
    assert tiny.attention_of(0).options == config.attention_of(0).options
    result = train(tiny, tmp_path / "run", device="cpu")
    assert result.step == 1


def test_there_are_experiments() -> None:
    assert ROOT / "experiments/copy_reverse.yaml" in RUNS
