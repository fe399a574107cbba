"""Models that transformers writes into a folder give the logits, the padding and the text that they give there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import lot

transformers = pytest.importorskip("transformers")
V = 31
LLAMA = {
    "vocab_size": V,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}
FAMILIES: dict[str, tuple[str, dict[str, Any], float]] = {
    "llama": ("LlamaForCausalLM", {**LLAMA, "rope_parameters": {"rope_type": "default", "rope_theta": 1e5}}, 1e-6),
    "llama, tied, with biases and a head width": (
        "LlamaForCausalLM",
        {**LLAMA, "tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True, "head_dim": 16},
        1e-6,
    ),
    "mistral": ("MistralForCausalLM", {**LLAMA, "sliding_window": 64}, 1e-6),
    "qwen2": ("Qwen2ForCausalLM", LLAMA, 1e-6),
    "qwen3": ("Qwen3ForCausalLM", {**LLAMA, "head_dim": 12}, 1e-6),
    "phi": (
        "PhiForCausalLM",
        {
            **{key: value for key, value in LLAMA.items() if key != "num_key_value_heads"},
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5},
        },
        1e-6,
    ),
    "gpt2": ("GPT2LMHeadModel", {"vocab_size": V, "n_positions": 64, "n_embd": 32, "n_layer": 3, "n_head": 4}, 1e-9),
}


def theirs(name: str, folder: Path, **saving: Any) -> nn.Module:
    """Their model, its parameters moved away from the initial ones, and saved in `folder`."""
    cls, options, _ = FAMILIES[name]
    kind = getattr(transformers, cls)
    torch.manual_seed(0)
    model = kind(kind.config_class(**options))
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    model.save_pretrained(folder, **saving)
    found: nn.Module = model.double().eval()
    return found


def close(found: Tensor, expected: Tensor, tolerance: float) -> None:
    assert (found - expected).abs().max() <= tolerance * expected.abs().max()


@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_logits_are_theirs(name, tmp_path, build, ids):
    source = theirs(name, tmp_path)
    model = build(tmp_path).double()
    close(model(ids()).logits, source(ids()).logits, FAMILIES[name][2])


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_padding_on_either_side_is_theirs_with_a_cache_too(name, side, tmp_path, build, ids):
    source = theirs(name, tmp_path)
    model, given = build(tmp_path).double(), ids()
    padding = torch.zeros_like(given, dtype=torch.bool)
    padding[0, slice(0, 6) if side == "left" else slice(14, 20)] = True
    positions = ((~padding).cumsum(1) - 1).clamp(min=0)
    expected = source(given, attention_mask=(~padding).long(), position_ids=positions).logits[~padding]
    found = model(given, lot.Context(padding=padding, positions=positions)).logits[~padding]
    close(found, expected, FAMILIES[name][2])
    caches, pieces = model.init_cache(2, "cpu", torch.float64), []
    for start, end in ((0, 9), (9, 10), (10, 20)):
        ctx = lot.Context(start=start, padding=padding[:, start:end], positions=positions[:, start:end])
        logits, caches = model.extend(given[:, start:end], ctx, caches)
        pieces.append(logits)
    close(torch.cat(pieces, dim=1)[~padding], expected, FAMILIES[name][2])


@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_greedy_text_with_a_cache_is_theirs(name, tmp_path, build, ids):
    source = theirs(name, tmp_path)
    model, prompt = build(tmp_path).double(), ids(2, 5)
    expected = source.generate(
        prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=30, do_sample=False, eos_token_id=None,
        pad_token_id=0,
    )[:, 5:]  # fmt: skip
    drawn = lot.generate(model, prompt, 30, generator=torch.Generator(), temperature=0.0)
    assert torch.equal(torch.stack([one.ids for one in drawn], dim=1), expected)


@torch.no_grad()
def test_shards_and_bfloat16_are_read_as_they_read_them(tmp_path, build, ids):
    name = "qwen2"
    theirs(name, tmp_path / "whole")
    small = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "whole", dtype=torch.bfloat16)
    small.save_pretrained(tmp_path / "shards", max_shard_size="10KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 3
    source = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "shards", dtype=torch.float32).double()
    close(build(tmp_path / "shards").double()(ids()).logits, source.eval()(ids()).logits, 1e-6)
