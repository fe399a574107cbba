"""Which weights of a model of transformers go into which parameter of LOT's decoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from lot_hf.architecture import Architecture


class Origin(NamedTuple):
    """Where a parameter comes from: tensors that are put one below the other, each transposed if `transposed`."""

    names: tuple[str, ...]
    transposed: bool = False


BASE = {"llama": "model.", "phi": "model.", "gpt2": "transformer."}
"""What stands before the names of the trunk; files of a trunk alone leave it out."""
BLOCK = {"llama": "layers.{}.", "phi": "layers.{}.", "gpt2": "h.{}."}
EMBEDDING = {"llama": "embed_tokens", "phi": "embed_tokens", "gpt2": "wte"}
LAST_NORM = {"llama": "norm", "phi": "final_layernorm", "gpt2": "ln_f"}
HEAD = "lm_head"
BUFFERS = (".rotary_emb.inv_freq", ".attn.bias", ".attn.masked_bias")
"""Ends of names that are tables of old files, computed here."""

# The parts of a block, without `weight` and `bias`.
NORMS = {
    "llama": {"norm_attention": "input_layernorm", "norm_mlp": "post_attention_layernorm"},
    "phi": {"norm_attention": "input_layernorm"},
    "gpt2": {"norm_attention": "ln_1", "norm_mlp": "ln_2"},
}
MLPS = {
    "llama": {"gate": "mlp.gate_proj", "up": "mlp.up_proj", "down": "mlp.down_proj"},
    "phi": {"up": "mlp.fc1", "down": "mlp.fc2"},
    "gpt2": {"up": "mlp.c_fc", "down": "mlp.c_proj"},
}
QKV = {
    "llama": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "phi": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "gpt2": ("attn.c_attn",),
}
OUT = {"llama": "self_attn.o_proj", "phi": "self_attn.dense", "gpt2": "attn.c_proj"}
QK_NORMS = {"query_norm": "self_attn.q_norm", "key_norm": "self_attn.k_norm"}


def trunk(model: Architecture) -> dict[str, Origin]:
    """The origin of every parameter that is no part of an attention, by its name in LOT's decoder."""
    family = model.family
    found = {"embedding.table.weight": Origin((f"{EMBEDDING[family]}.weight",))}
    if model.positions == "learned":
        found["positions.weight"] = Origin(("wpe.weight",))
    if not model.tied:
        found["head.weight"] = Origin((f"{HEAD}.weight",))
    if model.head_bias:
        found["head_bias"] = Origin((f"{HEAD}.bias",))
    kinds = _kinds(model.norm == "layer")
    found |= {f"norm.{kind}": Origin((f"{LAST_NORM[family]}.{kind}",)) for kind in kinds}
    for layer in range(model.layers):
        ours, theirs = f"blocks.{layer}.", BLOCK[family].format(layer)
        for name, part in NORMS[family].items():
            found |= {f"{ours}{name}.{kind}": Origin((f"{theirs}{part}.{kind}",)) for kind in kinds}
        for name, part in MLPS[family].items():
            for kind in _kinds(model.mlp_bias):
                found[f"{ours}mlp.{name}.{kind}"] = Origin((f"{theirs}{part}.{kind}",), _turned(family, kind))
    return found


def projections(model: Architecture, layer: int) -> dict[str, Origin]:
    """The origin of every parameter of the `lot.nn.Projections` of a layer, by its name there."""
    family, theirs = model.family, BLOCK[model.family].format(layer)
    found = {}
    for kind in _kinds(model.attention_bias):
        names = tuple(f"{theirs}{part}.{kind}" for part in QKV[family])
        found[f"qkv.{kind}"] = Origin(names, _turned(family, kind))
    for kind in _kinds(model.output_bias):
        found[f"out.{kind}"] = Origin((f"{theirs}{OUT[family]}.{kind}",), _turned(family, kind))
    if model.qk_norm:
        found |= {f"{name}.weight": Origin((f"{theirs}{part}.weight",)) for name, part in QK_NORMS.items()}
    return found


def plain_names(family: str, names: frozenset[str]) -> Mapping[str, str]:
    """The names in a file by their names here, without what stands before those of the trunk; tables are left out."""
    return {name.removeprefix(BASE[family]): name for name in names if not name.endswith(BUFFERS)}


def _kinds(bias: bool) -> tuple[str, ...]:
    return ("weight", "bias") if bias else ("weight",)


def _turned(family: str, kind: str) -> bool:
    """Whether a tensor is kept as (in, out), as GPT-2's are."""
    return family == "gpt2" and kind == "weight"
