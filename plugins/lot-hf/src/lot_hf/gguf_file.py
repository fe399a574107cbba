"""GGUF files: what they say of a model, in the words of a config.json. Imports no torch, and gguf when used."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

from lot import BadInput

FACTS = {
    "hidden_size": "embedding_length",
    "num_hidden_layers": "block_count",
    "intermediate_size": "feed_forward_length",
    "max_position_embeddings": "context_length",
    "num_attention_heads": "attention.head_count",
    "num_key_value_heads": "attention.head_count_kv",
    "rms_norm_eps": "attention.layer_norm_rms_epsilon",
    "rope_theta": "rope.freq_base",
    "head_dim": "attention.key_length",
}
"""Keys of a config.json, and the fields of a GGUF file that say the same."""
PARTS = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
WHOLE = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
_PART = re.compile(r"blk\.(\d+)\.(\w+)\.(weight|bias)\Z")


def read_facts(path: Path) -> tuple[dict[str, Any], int | None]:
    """What the file says of its model, as a config.json would, and the number of its tokens. Raises BadInput."""
    reader = open_gguf(path)

    def field(name: str) -> Any:
        found = reader.get_field(name)
        return None if found is None else found.contents()

    kind = field("general.architecture")
    if kind != "llama":
        raise BadInput(where=f"path: {path}", expected="a GGUF file of the architecture llama", got=repr(kind))
    if (scaling := field("llama.rope.scaling.type")) not in (None, "none"):
        raise BadInput(
            where=f"path: {path}",
            expected="rotary frequencies that are not stretched",
            got=repr(scaling),
            fix="LOT's decoder has no others",
        )
    found = {ours: value for ours, name in FACTS.items() if (value := field(f"llama.{name}")) is not None}
    tensors = {tensor.name: [int(size) for size in tensor.shape] for tensor in reader.tensors}
    if "token_embd.weight" not in tensors:
        raise BadInput(f"{path} holds no weights of a language model", where="path")
    tokens = reader.get_field("tokenizer.ggml.tokens")
    bias = "blk.0.attn_q.bias" in tensors
    return {
        **found,
        "model_type": "llama",
        "vocab_size": tensors["token_embd.weight"][-1],
        "tie_word_embeddings": "output.weight" not in tensors,
        "attention_bias": bias,
    }, None if tokens is None else len(tokens.data)


def open_gguf(path: Path) -> Any:
    """A `gguf.GGUFReader`, which maps the file into memory. Raises BadInput."""
    facts = path.stat()
    return _opened(path, facts.st_mtime_ns, facts.st_size)


@functools.lru_cache(maxsize=1)  # reading its tokens, each by itself, takes seconds
def _opened(path: Path, _changed: int, _size: int) -> Any:
    try:
        import gguf
    except ImportError:
        raise BadInput("a GGUF file needs the package gguf", where="path", fix="pip install 'lot-hf[gguf]'") from None
    try:
        return gguf.GGUFReader(path)
    except Exception as error:  # what the package raises for damaged files depends on where they are damaged
        why = str(error).partition("\n")[0] or type(error).__name__
        raise BadInput(
            f"{path} is no GGUF file, damaged or cut off ({why})", where="path", fix="fetch it again"
        ) from None


def name_of(gguf_name: str) -> str | None:
    """The name that transformers' Llama gives a tensor; None where it has none."""
    if (match := _PART.match(gguf_name)) is not None and match[2] in PARTS:
        return f"model.layers.{match[1]}.{PARTS[match[2]]}.{match[3]}"
    whole, _, kind = gguf_name.rpartition(".")
    return f"{WHOLE[whole]}.{kind}" if whole in WHOLE else None
