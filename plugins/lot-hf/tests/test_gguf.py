"""GGUF files: quantized values as the package gguf dequantizes them, heads in Llama's order, damage told in one line."""

from __future__ import annotations

import json
import sys

import pytest
import torch

import lot

D, V, L, HEADS, KV_HEADS, HIDDEN = 64, 32, 2, 4, 2, 96
NAMES = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}
SHAPES = {
    "attn_q": (D, D),
    "attn_k": (D // 2, D),
    "attn_v": (D // 2, D),
    "attn_output": (D, D),
    "ffn_gate": (HIDDEN, D),
    "ffn_up": (HIDDEN, D),
    "ffn_down": (D, HIDDEN),
    "attn_norm": (D,),
    "ffn_norm": (D,),
}


def turned(value, heads):
    """Rows of queries or keys as a GGUF file has them: channel i and i + d / 2 of a head beside each other."""
    return value.view(heads, 2, -1, D).transpose(1, 2).reshape(value.shape)


@pytest.fixture
def both(tmp_path, write):
    """A function of a type of quantization: a GGUF file, and a folder with the values that are in it."""
    gguf = pytest.importorskip("gguf")
    from gguf.quants import dequantize, quantize

    def make(kind: str, architecture: str = "llama"):
        quantization = getattr(gguf.GGMLQuantizationType, kind)
        generator = torch.Generator().manual_seed(0)
        writer, weights = gguf.GGUFWriter(tmp_path / "model.gguf", architecture), {}
        writer.add_block_count(L)
        writer.add_context_length(64)
        writer.add_embedding_length(D)
        writer.add_feed_forward_length(HIDDEN)
        writer.add_head_count(HEADS)
        writer.add_head_count_kv(KV_HEADS)
        writer.add_layer_norm_rms_eps(1e-5)
        writer.add_rope_freq_base(50000.0)
        writer.add_token_list([f"t{number}" for number in range(V)])

        def put(name, theirs, shape):
            value = 0.3 * torch.randn(shape, generator=generator) + (1.0 if len(shape) == 1 else 0.0)
            if len(shape) == 2:
                value = torch.from_numpy(dequantize(quantize(value.numpy(), quantization), quantization).copy())
            weights[f"{theirs}.weight"] = value
            heads = {"q_proj": HEADS, "k_proj": KV_HEADS}.get(theirs.rpartition(".")[2])
            stored = (value if heads is None else turned(value, heads)).contiguous().numpy()
            if len(shape) == 2:
                writer.add_tensor(f"{name}.weight", quantize(stored, quantization), raw_dtype=quantization)
            else:
                writer.add_tensor(f"{name}.weight", stored)

        put("token_embd", "model.embed_tokens", (V, D))
        put("output_norm", "model.norm", (D,))
        for layer in range(L):
            for name, theirs in NAMES.items():
                put(f"blk.{layer}.{name}", f"model.layers.{layer}.{theirs}", SHAPES[name])
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        config = {
            "model_type": "llama", "hidden_size": D, "intermediate_size": HIDDEN, "num_hidden_layers": L,
            "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "max_position_embeddings": 64,
            "vocab_size": V, "rms_norm_eps": 1e-5, "rope_theta": 50000.0, "tie_word_embeddings": True,
        }  # fmt: skip
        return tmp_path / "model.gguf", write(config, weights, name="folder")

    return make


@torch.no_grad()
@pytest.mark.parametrize("kind", ["F32", "Q8_0", "Q4_1"])
def test_a_gguf_file_gives_what_a_folder_with_its_values_gives(kind, both, build, ids):
    file, folder = both(kind)
    expected = build(folder, task={"vocab_size": V})(ids()).logits
    found = build(file, task={"vocab_size": V})(ids()).logits
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_folder_with_one_gguf_file_is_that_file(both, build, ids):
    file, _ = both("Q8_0")
    assert torch.equal(
        build(file.parent, task={"vocab_size": V})(ids()).logits, build(file, task={"vocab_size": V})(ids()).logits
    )


def test_the_tokens_of_the_file_are_those_of_the_task(both, build):
    file, _ = both("F32")
    with pytest.raises(lot.BadInput, match="knows 32 tokens, and task copy_reverse has 31"):
        build(file, task={"vocab_size": 31})


def test_another_architecture_is_refused(both, build):
    file, _ = both("F32", "falcon")
    with pytest.raises(lot.BadInput, match="expected a GGUF file of the architecture llama, got 'falcon'"):
        build(file)


@pytest.mark.parametrize("kept", [0, 3, 200, -1000])
def test_a_cut_file_is_refused(kept, both, build):
    file, _ = both("F32")
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(lot.BadInput, match="damaged or cut off") as error:
        build(file, task={"vocab_size": V})
    assert "\n" not in str(error.value)


def test_without_the_package_what_to_install_is_told(tmp_path, build, monkeypatch):
    monkeypatch.setitem(sys.modules, "gguf", None)
    (tmp_path / "x.gguf").write_bytes(b"GGUF")
    with pytest.raises(lot.BadInput, match=r"pip install 'lot-hf\[gguf\]'"):
        build(tmp_path / "x.gguf")


def test_a_config_beside_a_gguf_file_counts(both, build, write, configs):
    file, folder = both("F32")
    file.rename(folder / "x.gguf")
    assert json.loads((folder / "config.json").read_text())["model_type"] == "llama"
    build(folder, task={"vocab_size": V})
