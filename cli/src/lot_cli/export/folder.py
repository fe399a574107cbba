"""A model as a folder that transformers reads, where `lot_hf.auto` is imported: configuration, weights, tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lot.errors import BadInput
from lot.options.validate import unstructure
from lot.storage.assets import read_assets

if TYPE_CHECKING:
    from lot.runs.load import RecordedRun

TOKENIZER = "tokenizer.json"
SECTIONS = ("seed", "allow_leak", "task", "model", "embed", "attn", "mlp")
"""What a model is built from; the rest of a configuration is about its training."""


def write_folder(loaded: RecordedRun, folder: Path) -> list[str]:
    """Write the files into an empty folder; returns the lines to print.

    Raises OSError, and BadInput where the model sees the future.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    task, dims = loaded.task, loaded.model.dims
    if not task.causal:
        raise BadInput("this model sees later tokens, and cannot be a causal language model of transformers")
    facts = {
        "model_type": "lot",
        "architectures": ["LotForCausalLM"],
        "vocab_size": dims.vocab_size,
        "hidden_size": dims.width,
        "num_hidden_layers": dims.layers,
        "num_attention_heads": dims.heads,
        "max_position_embeddings": dims.max_len,
        "dtype": "float32",
        "lot": _configuration(loaded),
        # By which an embedding may rank its tokens.
        "token_counts": None if task.token_counts is None else task.token_counts.tolist(),
    }
    (folder / "config.json").write_text(json.dumps(facts) + "\n", encoding="utf-8")
    tensors = {f"model.{name}": value.detach().contiguous() for name, value in loaded.model.state_dict().items()}
    try:
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    except SafetensorError as error:  # what its writer raises for a full disk
        raise OSError(str(error)) from error
    return [f"{len(tensors)} tensors", *_write_tokenizer(loaded, folder)]


def _configuration(loaded: RecordedRun) -> dict[str, Any]:
    """What builds the model again, without files of its own."""
    whole = loaded.config.to_dict()
    found: dict[str, Any] = {section: whole[section] for section in SECTIONS if section in whole}
    options = loaded.config.model.used
    if hasattr(options, "without_files"):
        found["model"] = {"name": loaded.config.model.name, **unstructure(options.without_files())}
    # A dense table of positions has as many rows as the model had in its run.
    found["model"]["max_len"] = loaded.model.dims.max_len
    found["train"] = {"neutral": loaded.config.train.neutral}
    return found


def _write_tokenizer(loaded: RecordedRun, folder: Path) -> list[str]:
    content = read_assets(loaded.path).get(TOKENIZER)
    if content is None:
        return [f"no tokenizer: task {loaded.config.task.name} has none that transformers reads; give ids"]
    (folder / TOKENIZER).write_bytes(content)
    facts = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": loaded.model.dims.max_len}
    (folder / "tokenizer_config.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    return [f"with the tokenizer of task {loaded.config.task.name}"]
