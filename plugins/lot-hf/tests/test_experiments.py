"""The study on a pretrained model, as the repository ships it, with a tiny model and text where it looks for its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from lot.training.compose import compose

pytest.importorskip("lot_cli")
pytest.importorskip("lot_tasks")
pytest.importorskip("lot_toroidal")
pytest.importorskip("lot_lattice")
tokenizers = pytest.importorskip("tokenizers")

FILE = Path(__file__).resolve().parents[3] / "experiments" / "pretrained" / "pretrained.yaml"


@pytest.fixture
def study(write, configs, tmp_path, monkeypatch):
    """The study of the file, on a model of three layers."""
    from lot.config.yaml import read_yaml
    from lot_cli.study.design.file import study_from

    folder = write(configs["llama"], name="smollm2")
    words = [f"w{i}" for i in range(30)] + ["<unk>"]
    tokenizer = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>")
    )
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "wikitext2.txt").write_text(" ".join(words[i * i % 30] for i in range(4000)))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOT_CACHE", str(tmp_path / "cache"))
    data = read_yaml(FILE)
    assert data["base"]["model"].pop("path") == "smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
    data["base"]["model"] |= {"path": "smollm2", "layers": [1, 2]}
    data["base"]["task"]["seq_len"] = 32
    return study_from(data, "pretrained")


def test_arms_differ_in_the_attention_of_the_last_layers_and_in_nothing_that_rests(study):
    from lot_cli.study.design.plan import find_reference, plan_arms

    arms = {arm.name: arm for arm in plan_arms(study)}
    assert find_reference(study, list(arms.values())).name == "vanilla"
    tokens = torch.arange(32)[None] % 31
    logits = {}
    for name, arm in arms.items():
        composition = compose(arm.config(0))
        trained = {key for key, p in composition.model.named_parameters() if p.requires_grad}
        assert all(key.startswith(("blocks.1.attention.", "blocks.2.attention.")) for key in trained)
        with torch.no_grad():
            logits[name] = composition.model.eval()(tokens).logits
    assert torch.allclose(logits["lattice"], logits["vanilla"], atol=1e-5)
    assert torch.equal(logits["frozen"], logits["vanilla"])
    for name in ("hybrid", "toroidal"):
        assert not torch.allclose(logits[name], logits["vanilla"], atol=1e-2)


def test_what_was_registered_is_what_the_file_says():
    from lot_cli.study.design.file import load_study

    registered = json.loads((FILE.parents[2] / "benchmarks/results/studies/pretrained.registration.json").read_text())
    assert registered["runs_before"] == 0
    assert registered["study"] == load_study(FILE).to_dict()
