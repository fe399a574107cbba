"""The tensors of a GGUF file, dequantized to float32, under the names that transformers' Llama gives them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lot import BadInput
from lot_hf.gguf_file import name_of, open_gguf, read_facts
from lot_hf.weights import Weights


class Dequantized(Weights):
    """What a GGUF file of the architecture llama holds."""

    def __init__(self, path: Path) -> None:
        self.where = str(path)
        facts = read_facts(path)[0]
        heads = facts["num_attention_heads"]
        self._heads = {"q_proj": heads, "k_proj": facts.get("num_key_value_heads", heads)}
        self._tensors = {name_of(tensor.name) or tensor.name: tensor for tensor in open_gguf(path).tensors}
        self.names = frozenset(self._tensors)

    def read(self, name: str) -> Tensor:
        from gguf.quants import dequantize

        found = self._tensors[name]
        try:
            values = np.array(dequantize(found.data, found.tensor_type), dtype=np.float32)
        except NotImplementedError:
            raise BadInput(
                f"{self.where}: {found.name} is of the type {found.tensor_type.name}, which gguf cannot dequantize",
                where="path",
                fix="choose another quantization",
            ) from None
        heads = self._heads.get(name.split(".")[-2])
        return torch.from_numpy(values if heads is None else _paired(values, heads))


def _paired(values: np.ndarray, heads: int) -> np.ndarray:
    """Rows of queries or keys in the order of Llama, in which channel i of a head turns with channel i + d / 2.

    In a GGUF file channel 2 i turns with channel 2 i + 1.
    """
    d = values.shape[0] // heads
    return values.reshape(heads, d // 2, 2, *values.shape[1:]).swapaxes(1, 2).reshape(values.shape)
