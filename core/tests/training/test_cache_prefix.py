"""`train.cache_prefix` in runs: it changes times, and numbers by rounding alone."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from toy import toy_config

import lot
from lot.model.decoder import Decoder
from lot.runs.directory import RunDir
from lot.training.train import train
from lot.training.trainer import Trainer

MODEL = {"width": 16, "heads": 2, "layers": 3}
KEPT = ("train.only=['blocks.2.*']", "train.cache_prefix=true")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache."""
    monkeypatch.setenv("LOT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def numbers(run):
    """The rows of a log without their words."""
    return [{key: value for key, value in row.items() if not isinstance(value, str)} for row in rows(run)]


def rows(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def weights(run):
    return lot.load_run(run).model.state_dict()


def test_a_run_learns_what_it_learns_without(tmp_path, monkeypatch):
    kept = toy_config(*KEPT, model=MODEL)
    monkeypatch.setattr(RunDir, "config", lambda self: kept)
    train(toy_config(KEPT[0], model=MODEL), tmp_path / "plain")
    train(kept, tmp_path / "kept")
    for plain, ours in zip(numbers(tmp_path / "plain"), numbers(tmp_path / "kept"), strict=True):
        assert ours == pytest.approx(plain, rel=1e-4)
    for name, value in weights(tmp_path / "plain").items():
        assert torch.allclose(weights(tmp_path / "kept")[name], value, atol=1e-4), name


def test_a_cut_off_run_gives_the_same_bits_whatever_was_kept(tmp_path, cache, monkeypatch):
    config = toy_config(*KEPT, model=MODEL)
    step = Trainer.train_step

    def failing(self):
        if self.step == 7:
            raise RuntimeError
        step(self)

    train(config, tmp_path / "whole")
    shutil.rmtree(cache)
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train_step", failing)
        with pytest.raises(RuntimeError):
            train(config, tmp_path / "cut")
    (file,) = cache.glob("prefix/*/states")
    file.write_bytes(file.read_bytes()[:5000])
    monkeypatch.setattr(RunDir, "config", lambda self: config)
    train(config, tmp_path / "cut", resume=True)
    assert (tmp_path / "cut" / "metrics.jsonl").read_bytes() == (tmp_path / "whole" / "metrics.jsonl").read_bytes()
    for name, value in weights(tmp_path / "whole").items():
        assert torch.equal(weights(tmp_path / "cut")[name], value), name


def test_an_evaluation_reads_what_training_kept(tmp_path, monkeypatch):
    config = toy_config(*KEPT, model=MODEL)
    monkeypatch.setattr(RunDir, "config", lambda self: config)
    result = train(config, tmp_path / "run")
    passes = []
    lower = Decoder.lower

    def count(self, ids, ctx, layers):
        passes.append(layers)
        return lower(self, ids, ctx, layers)

    monkeypatch.setattr(Decoder, "lower", count)
    found = lot.evaluate(tmp_path / "run")
    assert found["metrics"]["loss"] == pytest.approx(result.metrics["loss"], rel=1e-6)
    assert all(layers == 3 or index < 4 for index, layers in enumerate(passes)), "only the trials compute the prefix"


def test_the_probe_of_a_run_still_finds_a_leak_below(tmp_path):
    config = toy_config(
        *KEPT,
        "allow_leak=true",
        model=MODEL,
        attn={"name": "vanilla", "layers": {0: {"name": "vanilla", "causal": False}}},
    )
    result = train(config, tmp_path / "run")
    assert result.leak
    assert json.loads((tmp_path / "run" / "run.json").read_text())["leak_probe"]["status"] == "leak"


@pytest.mark.parametrize("option", ["train.context_parallel=2"])
def test_sequences_that_are_spread_are_refused(option, tmp_path):
    with pytest.raises(lot.BadInput, match="states are kept of whole sequences") as caught:
        train(toy_config(*KEPT, option, model=MODEL), tmp_path / "run")
    assert caught.value.where == "train.cache_prefix"
