"""Tiny random models in folders, by the names of transformers' modules, written without it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import lot

V, D, L = 31, 32, 3
LLAMA = {
    "model_type": "llama",
    "hidden_size": D,
    "intermediate_size": 48,
    "num_hidden_layers": L,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "vocab_size": V,
    "rms_norm_eps": 1e-5,
    "rope_theta": 100000.0,
    "tie_word_embeddings": True,
}
GPT2 = {"model_type": "gpt2", "n_embd": D, "n_head": 4, "n_layer": L, "n_positions": 64, "vocab_size": V}
Write = Callable[..., Path]


def llama_shapes(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """The shapes of Llama's weights by name."""
    hidden, d = config["intermediate_size"], config.get("head_dim", D // config["num_attention_heads"])
    heads, kv_heads = config["num_attention_heads"] * d, config["num_key_value_heads"] * d
    found: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (V, D), "model.norm.weight": (D,)}
    if not config["tie_word_embeddings"]:
        found["lm_head.weight"] = (V, D)
    for layer in range(L):
        own = f"model.layers.{layer}."
        found |= {f"{own}{name}.weight": (D,) for name in ("input_layernorm", "post_attention_layernorm")}
        for name, size in (("q", heads), ("k", kv_heads), ("v", kv_heads)):
            found[f"{own}self_attn.{name}_proj.weight"] = (size, D)
        found[f"{own}self_attn.o_proj.weight"] = (D, heads)
        found |= {f"{own}mlp.{name}_proj.weight": (hidden, D) for name in ("gate", "up")}
        found[f"{own}mlp.down_proj.weight"] = (D, hidden)
    return found


def gpt2_shapes(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """The shapes of GPT-2's weights by name, without those of a trunk's prefix, as its own files have them."""
    found: dict[str, tuple[int, ...]] = {"wte.weight": (V, D), "wpe.weight": (64, D)}
    found |= {f"ln_f.{kind}": (D,) for kind in ("weight", "bias")}
    for layer in range(L):
        own = f"h.{layer}."
        found |= {f"{own}{norm}.{kind}": (D,) for norm in ("ln_1", "ln_2") for kind in ("weight", "bias")}
        for name, inner, outer in (
            ("attn.c_attn", D, 3 * D), ("attn.c_proj", D, D), ("mlp.c_fc", D, 4 * D), ("mlp.c_proj", 4 * D, D),
        ):  # fmt: skip
            found |= {f"{own}{name}.weight": (inner, outer), f"{own}{name}.bias": (outer,)}
        found[f"{own}attn.bias"] = (1, 1, 64, 64)  # a table of old files
    return found


def random_weights(shapes: dict[str, tuple[int, ...]], dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """Random values; those of norms around 1."""
    generator = torch.Generator().manual_seed(0)
    return {
        name: (
            0.3 * torch.randn(shape, generator=generator) + (1.0 if len(shape) == 1 and "weight" in name else 0.0)
        ).to(dtype)
        for name, shape in shapes.items()
    }


def shapes_of(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """The shapes of the weights of a model by name."""
    return gpt2_shapes(config) if config["model_type"] == "gpt2" else llama_shapes(config)


@pytest.fixture
def configs() -> dict[str, dict[str, Any]]:
    """The content of a config.json by family."""
    return {"llama": dict(LLAMA), "gpt2": dict(GPT2)}


@pytest.fixture
def values() -> Callable[[dict[str, Any]], dict[str, Tensor]]:
    """Random weights for the content of a config.json."""
    return lambda config: random_weights(shapes_of(config))


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a folder: config.json from a table, and the weights, in one file or in `shards` with an index."""

    def make(
        config: dict[str, Any], weights: dict[str, Tensor] | None = None, shards: int = 1, name: str = "model"
    ) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(config))
        if weights is None:
            weights = random_weights(shapes_of(config))
        if shards == 1:
            save_file(weights, folder / "model.safetensors")
            return folder
        files = {}
        for number in range(shards):
            part = {key: weights[key] for key in list(weights)[number::shards]}
            file = f"model-{number + 1:05d}-of-{shards:05d}.safetensors"
            save_file(part, folder / file)
            files |= dict.fromkeys(part, file)
        (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": files}))
        return folder

    return make


class NextToken(lot.Task):
    """A task that is there for its sizes. vocab_size, seq_len, causal: them."""

    def __init__(self, vocab_size: int = V, seq_len: int = 20, causal: bool = True) -> None:
        self.vocab_size, self.seq_len, self.causal = vocab_size, seq_len, causal

    def batch(self, split: Any, index: int, size: int, device: Any = "cpu") -> lot.Batch:
        generator = torch.Generator().manual_seed(index)
        ids = torch.randint(self.vocab_size, (size, self.seq_len + 1), generator=generator).to(device)
        return lot.Batch(ids[:, :-1], ids[:, 1:])

    def length(self, split: Any) -> int | None:
        return None if split == "train" else 8

    def metrics(self) -> Any:
        raise NotImplementedError

    def decode(self, ids: Any) -> str:
        return " ".join(str(int(one)) for one in ids)


Build = Callable[..., lot.Model]


@pytest.fixture
def build() -> Build:
    """Builds the model of a folder. task: options of `NextToken`; other: sections of the configuration beside the model."""

    def make(
        path: Path | str, task: dict[str, Any] | None = None, other: dict[str, Any] | None = None, **options: Any
    ) -> lot.Model:
        model = {"name": "hf", "path": str(path), "max_len": 64, **options}
        config = lot.load_config({"task": {"name": "copy_reverse"}, "model": model, **(other or {})})
        return lot.build_model(config, NextToken(**(task or {}))).eval()

    return make


@pytest.fixture
def ids() -> Callable[..., Tensor]:
    """Random tokens (batch, length)."""

    def make(batch: int = 2, length: int = 20, vocabulary: int = V) -> Tensor:
        return torch.randint(vocabulary, (batch, length), generator=torch.Generator().manual_seed(1))

    return make
