"""The decoder's options against the models that they are named after, as the library transformers computes them.

Weights of a tiny random model of theirs are copied into ours; both compute in float64. Their rotary tables are float32.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import lot
from lot.model.build import build_model
from lot.testing.specimens.next_token import NextToken

transformers = pytest.importorskip("transformers")
V, T = 31, 20


def ours(**model: Any) -> lot.Model:
    """Our model of 2 layers in float64; `task` is only there for its sizes."""
    config = lot.load_config({"task": {"name": "copy_reverse"}, "model": {"layers": 2, "max_len": 64, **model}})
    return build_model(config, NextToken(V, T)).double().eval()


def theirs(cls: str, **config: Any) -> nn.Module:
    """Their model, its parameters moved away from the initial ones."""
    torch.manual_seed(0)
    head = "LMHeadModel" if cls == "GPT2" else "ForCausalLM"
    model = getattr(transformers, cls + head)(getattr(transformers, f"{cls}Config")(**config))
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model.double().eval()


def gpt2() -> tuple[nn.Module, nn.Module]:
    source = theirs(
        "GPT2", vocab_size=V, n_positions=64, n_embd=32, n_layer=2, n_head=4, attn_pdrop=0.0, resid_pdrop=0.0
    )
    model = ours(name="gpt2", width=32, heads=4)
    w = dict(source.named_parameters())
    new = {"embedding.table.weight": w["transformer.wte.weight"], "positions.weight": w["transformer.wpe.weight"]}
    for i in range(2):
        a, b = f"transformer.h.{i}.", f"blocks.{i}."
        for kind in ("weight", "bias"):
            turn = (lambda x: x.T) if kind == "weight" else (lambda x: x)  # their Conv1D keeps (in, out)
            new[f"{b}norm_attention.{kind}"], new[f"{b}norm_mlp.{kind}"] = w[f"{a}ln_1.{kind}"], w[f"{a}ln_2.{kind}"]
            new[f"{b}attention.heads.qkv.{kind}"] = turn(w[f"{a}attn.c_attn.{kind}"])
            new[f"{b}attention.heads.out.{kind}"] = turn(w[f"{a}attn.c_proj.{kind}"])
            new[f"{b}mlp.up.{kind}"] = turn(w[f"{a}mlp.c_fc.{kind}"])
            new[f"{b}mlp.down.{kind}"] = turn(w[f"{a}mlp.c_proj.{kind}"])
    new |= {f"norm.{kind}": w[f"transformer.ln_f.{kind}"] for kind in ("weight", "bias")}
    model.load_state_dict(new)
    return source, model


def llama(**options: Any) -> tuple[nn.Module, nn.Module]:
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    source = theirs(
        "Llama",
        vocab_size=V,
        max_position_embeddings=64,
        num_key_value_heads=options.get("kv_heads", 4),
        head_dim=options.get("head_width", 8),
        rope_parameters={"rope_theta": options.get("rope_base", 10000.0), "rope_type": "default"},
        rms_norm_eps=1e-5,
        **sizes,
    )
    model = ours(name="llama", width=32, heads=4, mlp_ratio=1.5, **options)
    w = dict(source.named_parameters())
    new = {"embedding.table.weight": w["model.embed_tokens.weight"], "norm.weight": w["model.norm.weight"]}
    new["head.weight"] = w["lm_head.weight"]
    for i in range(2):
        a, b = f"model.layers.{i}.", f"blocks.{i}."
        new[f"{b}norm_attention.weight"] = w[f"{a}input_layernorm.weight"]
        new[f"{b}norm_mlp.weight"] = w[f"{a}post_attention_layernorm.weight"]
        parts = [w[f"{a}self_attn.{name}_proj.weight"] for name in "qkv"]
        new[f"{b}attention.heads.qkv.weight"] = torch.cat(parts)
        new[f"{b}attention.heads.out.weight"] = w[f"{a}self_attn.o_proj.weight"]
        for name in ("gate", "up", "down"):
            new[f"{b}mlp.{name}.weight"] = w[f"{a}mlp.{name}_proj.weight"]
    model.load_state_dict(new)
    return source, model


def phi() -> tuple[nn.Module, nn.Module]:
    source = theirs(
        "Phi",
        vocab_size=V,
        max_position_embeddings=64,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        hidden_act="gelu_new",
        rope_parameters={"rope_theta": 10000.0, "rope_type": "default", "partial_rotary_factor": 0.5},
    )
    model = ours(
        width=32, heads=2, mlp_ratio=2.0, positions="rotary", rotary_fraction=0.5, parallel=True, head_bias=True
    )  # fmt: skip
    w = dict(source.named_parameters())
    new = {"embedding.table.weight": w["model.embed_tokens.weight"]}
    new |= {"head.weight": w["lm_head.weight"], "head_bias": w["lm_head.bias"]}
    for kind in ("weight", "bias"):
        new[f"norm.{kind}"] = w[f"model.final_layernorm.{kind}"]
        for i in range(2):
            a, b = f"model.layers.{i}.", f"blocks.{i}."
            new[f"{b}norm_attention.{kind}"] = w[f"{a}input_layernorm.{kind}"]
            new[f"{b}attention.heads.qkv.{kind}"] = torch.cat([w[f"{a}self_attn.{name}_proj.{kind}"] for name in "qkv"])
            new[f"{b}attention.heads.out.{kind}"] = w[f"{a}self_attn.dense.{kind}"]
            new[f"{b}mlp.up.{kind}"], new[f"{b}mlp.down.{kind}"] = w[f"{a}mlp.fc1.{kind}"], w[f"{a}mlp.fc2.{kind}"]
    model.load_state_dict(new)
    return source, model


MODELS = {
    "gpt2": (gpt2, 1e-9),
    "llama": (llama, 1e-6),
    "llama with grouped queries, a base and a head width": (
        lambda: llama(kv_heads=2, rope_base=100000.0, head_width=16),
        1e-6,
    ),
    "phi": (phi, 1e-6),
}


def close(found: Tensor, expected: Tensor, tolerance: float) -> None:
    assert (found - expected).abs().max() <= tolerance * expected.abs().max()


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_logits_are_theirs(name: str) -> None:
    make, tolerance = MODELS[name]
    source, model = make()
    ids = torch.randint(V, (3, T), generator=torch.Generator().manual_seed(1))
    close(model(ids).logits, source(ids).logits, tolerance)


@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_decoding_is_theirs(name: str) -> None:
    make, tolerance = MODELS[name]
    source, model = make()
    ids = torch.randint(V, (2, T), generator=torch.Generator().manual_seed(2))
    expected = source(ids).logits
    caches, found = model.init_cache(2, "cpu", torch.float64), []
    for start, end in ((0, 5), (5, 6), (6, T)):
        logits, caches = model.extend(ids[:, start:end], lot.Context(start=start), caches)
        found.append(logits)
    close(torch.cat(found, dim=1), expected, tolerance)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("name", MODELS)
@torch.no_grad()
def test_padding_on_either_side_is_theirs(name: str, side: str) -> None:
    make, tolerance = MODELS[name]
    source, model = make()
    ids = torch.randint(V, (2, T), generator=torch.Generator().manual_seed(3))
    padding = torch.zeros(2, T, dtype=torch.bool)
    padding[0, : 6 if side == "left" else None] = side == "left"
    if side == "right":
        padding[0, -6:] = True
    positions = ((~padding).cumsum(1) - 1).clamp(min=0)
    expected = source(ids, attention_mask=(~padding).long(), position_ids=positions).logits
    found = model(ids, lot.Context(padding=padding, positions=positions)).logits
    close(found[~padding], expected[~padding], tolerance)
