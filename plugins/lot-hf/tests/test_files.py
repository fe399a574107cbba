"""What is wrong with a folder is told in one line, with its path, before anything is computed; shards and types are read."""

from __future__ import annotations

import json
import pickle
import sys

import pytest
import torch
from safetensors.torch import save_file

import lot
from lot_hf import hub


def refusal(call) -> str:
    with pytest.raises(lot.BadInput) as error:
        call()
    assert error.value.exit_code == 2
    line = str(error.value)
    assert "\n" not in line
    return line


@torch.no_grad()
def test_shards_give_what_one_file_gives(write, configs, build, ids):
    one, three = write(configs["llama"]), write(configs["llama"], shards=3, name="shards")
    assert torch.equal(build(one)(ids()).logits, build(three)(ids()).logits)


@torch.no_grad()
def test_bfloat16_is_read_and_computed_in_float32(write, configs, values, build, ids):
    weights = {name: value.bfloat16() for name, value in values(configs["gpt2"]).items()}
    model = build(write(configs["gpt2"], weights))
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    wide = build(write(configs["gpt2"], {name: value.float() for name, value in weights.items()}, name="wide"))
    assert torch.equal(model(ids()).logits, wide(ids()).logits)


@torch.no_grad()
def test_the_head_of_a_tied_model_is_its_embedding_whatever_the_file_says(write, configs, values, build, ids):
    weights = values(configs["llama"])
    plain = build(write(configs["llama"], weights))
    more = write(configs["llama"], {**weights, "lm_head.weight": torch.zeros(31, 32)}, name="more")
    assert torch.equal(build(more)(ids()).logits, plain(ids()).logits)


@torch.no_grad()
def test_a_shorter_model_has_the_first_positions(write, configs, build, ids):
    folder = write(configs["gpt2"])
    assert torch.equal(build(folder, max_len=20)(ids()).logits, build(folder)(ids()).logits)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"model_type": "bert"}, "expected a model_type that LOT can compute"),
        ({"model_type": ["llama"]}, "expected a model_type that LOT can compute"),
        ({"quantization_config": {"bits": 4}}, "weights that are not quantized"),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, "stretched rotary frequencies"),
        ({"hidden_act": "gelu"}, "hidden_act: expected silu or swish, got 'gelu'"),
        ({"hidden_size": None}, "hidden_size: expected a whole number"),
        ({"num_key_value_heads": 3}, "key heads that divide the 4 heads"),
        ({"rms_norm_eps": "small"}, "rms_norm_eps: expected a number above 0"),
        ({"tie_word_embeddings": 1}, "tie_word_embeddings: expected true or false"),
        ({"intermediate_size": 40}, "mlp.gate_proj.weight: expected shape [40, 32]"),
        ({"attention_bias": True}, "holds no layers.0.self_attn.q_proj.bias"),
        ({"num_hidden_layers": 2}, "have no place in a model of the family llama"),
        ({"max_position_embeddings": 32}, "max_len: expected at most the model's 32"),
        ({"model_type": "mistral", "sliding_window": 40}, "max_len: expected at most the model's 40"),
    ],
    ids=str,
)
def test_a_config_that_does_not_fit_is_refused(change, told, write, configs, values, build):
    folder = write({**configs["llama"], **change}, values(configs["llama"]))
    line = refusal(lambda: build(folder))
    assert told in line
    assert line.startswith("model.")


@pytest.mark.parametrize(
    ("content", "told"), [("{", "is no JSON"), ("[1]", "expected a table, got list"), ("\x00", "is no JSON")]
)
def test_a_damaged_config_is_refused(content, told, write, configs, build):
    folder = write(configs["llama"])
    (folder / "config.json").write_text(content)
    assert told in refusal(lambda: build(folder))


def test_a_cut_file_is_refused(write, configs, build):
    folder = write(configs["llama"], shards=2)
    shard = folder / "model-00002-of-00002.safetensors"
    shard.write_bytes(shard.read_bytes()[:-100])
    line = refusal(lambda: build(folder))
    assert "model-00002-of-00002.safetensors is damaged or cut off" in line


def test_a_missing_shard_is_refused(write, configs, build):
    folder = write(configs["llama"], shards=3)
    (folder / "model-00002-of-00003.safetensors").unlink()
    assert "1 of 3 files of weights are missing, such as model-00002" in refusal(lambda: build(folder))


def test_an_index_that_leads_out_of_its_folder_is_refused(write, configs, build):
    folder = write(configs["llama"], shards=2)
    index = folder / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    content["weight_map"] = dict.fromkeys(content["weight_map"], "../elsewhere.safetensors")
    index.write_text(json.dumps(content))
    assert "names files outside its folder" in refusal(lambda: build(folder))


def test_pickled_weights_are_refused_and_not_opened(write, configs, build, tmp_path):
    class Trap:
        def __reduce__(self):
            return open, (str(tmp_path / "sprung"), "w")

    folder = write(configs["llama"])
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Trap()))
    line = refusal(lambda: build(folder))
    assert "pytorch_model.bin, which is pickled: reading it could run code" in line
    assert not (tmp_path / "sprung").exists()


def test_code_beside_a_model_is_never_run(write, configs, build, tmp_path):
    config = {**configs["llama"], "auto_map": {"AutoModelForCausalLM": "modeling_evil.Evil"}}
    folder = write(config)
    (folder / "modeling_evil.py").write_text(f"open({str(tmp_path / 'sprung')!r}, 'w')")
    build(folder)
    assert not (tmp_path / "sprung").exists()


def test_what_is_nowhere_is_told_at_once(tmp_path, build, monkeypatch):
    assert "no such folder or file: " in refusal(lambda: build(tmp_path / "nothing"))
    (tmp_path / "empty").mkdir()
    assert "expected a folder with config.json" in refusal(lambda: build(tmp_path / "empty"))
    (tmp_path / "notes.txt").write_text("x")
    assert "expected a folder, a .gguf file or a name on the hub" in refusal(lambda: build(tmp_path / "notes.txt"))
    assert "no such folder or file" in refusal(lambda: build("a\x00b"))
    assert "revision: is for a model on the hub" in refusal(lambda: build(tmp_path / "empty", revision="main"))


def test_a_name_on_the_hub_needs_its_package(build, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert "pip install 'lot-hf[hub]'" in refusal(lambda: build("someone/model"))


def test_no_network_is_told_at_once(monkeypatch):
    for variable in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HF_ENDPOINT", "https://127.0.0.1:9")
    line = refusal(lambda: hub._require_network("someone/model"))
    assert "127.0.0.1 cannot be reached" in line
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "HF_HUB_OFFLINE is set" in refusal(lambda: hub._require_network("someone/model"))


def test_layers_beyond_the_model_are_refused(write, configs, build):
    folder = write(configs["llama"])
    assert "model.layers: expected layers from 0 to 2, got 3" in refusal(lambda: build(folder, layers=[1, 3]))


def test_parts_that_the_model_brings_cannot_be_chosen(write, configs, build):
    folder = write(configs["llama"])
    for section, name in (("mlp", "gelu"), ("embed", "token")):
        line = refusal(lambda section=section, name=name: build(folder, other={section: {"name": name}}))
        assert "for model hf brings its own" in line


def test_a_task_that_is_not_causal_is_refused(write, configs, build):
    folder = write(configs["llama"])
    assert "expected a causal task" in refusal(lambda: build(folder, task={"causal": False}))


def test_a_sequence_longer_than_the_model_is_refused(write, configs, build):
    folder = write(configs["llama"])
    line = refusal(lambda: build(folder, task={"seq_len": 65}, max_len=None))
    assert "model.max_len: expected at most the 64 tokens of the pretrained model, got 65" in line


def tokenizer(size: int) -> str:
    """A tokenizers file of `size` tokens, of which the last one is an added one."""
    vocabulary = {str(number): number for number in range(size - 1)}
    added = {"id": size - 1, "content": "<end>", "single_word": False, "lstrip": False, "rstrip": False}
    added |= {"normalized": False, "special": True}
    model = {"type": "WordLevel", "vocab": vocabulary, "unk_token": "0"}
    return json.dumps({"version": "1.0", "added_tokens": [added], "model": model})


def test_the_tokenizer_of_the_task_must_be_that_of_the_model(write, configs, build):
    folder = write(configs["llama"])
    (folder / "tokenizer.json").write_text(tokenizer(29))  # the table of the model has two rows to spare
    build(folder, task={"vocab_size": 29})
    for other in (28, 31):
        line = refusal(lambda other=other: build(folder, task={"vocab_size": other}))
        assert f"task: model hf knows 29 tokens, and task copy_reverse has {other}" in line


def test_without_a_tokenizer_the_vocabulary_must_be_the_table(write, configs, build):
    folder = write(configs["llama"])
    for other in (28, 30):
        line = refusal(lambda other=other: build(folder, task={"vocab_size": other}))
        assert f"31 tokens, and task copy_reverse has {other}" in line


def test_a_file_that_is_no_tokenizer_is_refused(write, configs, build):
    folder = write(configs["llama"])
    (folder / "tokenizer.json").write_text("{}")
    assert "is no tokenizer file" in refusal(lambda: build(folder))


@torch.no_grad()
def test_leftover_tables_of_old_files_are_ignored(write, configs, values, build):
    weights = values(configs["llama"])
    weights |= {f"model.layers.{layer}.self_attn.rotary_emb.inv_freq": torch.zeros(4) for layer in range(3)}
    build(write(configs["llama"], weights))


@torch.no_grad()
def test_a_model_too_large_for_this_machine_is_refused_before_it_is_allocated(write, configs, build):
    folder = write({**configs["llama"], "vocab_size": 2**30, "hidden_size": 2**16})
    save_file({"x": torch.zeros(1)}, folder / "model.safetensors")
    line = refusal(lambda: build(folder, task={"vocab_size": 2**30}))
    assert "within the memory of" in line
    assert "choose a smaller model" in line


def test_a_study_knows_when_the_files_are_others(write, configs, values):
    component, folder = lot.registry().get("model", "hf"), write(configs["llama"], shards=2)

    def known():
        return component.content_of(component.configure(path=str(folder)))

    before = known()
    assert set(before) == {
        "config.json",
        "model.safetensors.index.json",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    }
    (folder / "README.md").write_text("words")
    assert known() == before
    shard = folder / "model-00002-of-00002.safetensors"
    content = bytearray(shard.read_bytes())
    content[-1] ^= 1
    shard.write_bytes(content)
    assert known() != before


@torch.no_grad()
def test_facts_in_place_of_files_give_the_architecture_with_drawn_weights(write, configs, build, ids):
    folder = write(configs["llama"])
    component = lot.registry().get("model", "hf")
    options = component.configure(path=str(folder), layers=[1])
    alone = options.without_files()
    assert alone.facts == configs["llama"]
    given = build(folder, layers=[1])
    drawn = build("no/where/at/all", layers=[1], facts=alone.facts, task={"vocab_size": 20})
    assert drawn.loaded == frozenset()
    assert [(name, p.shape) for name, p in drawn.named_parameters()] == [
        (name, p.shape) for name, p in given.named_parameters()
    ]
    assert "not pretrained" in drawn.describe()
    drawn.load_state_dict(given.state_dict())
    assert torch.equal(drawn(ids()).logits, given(ids()).logits)
