"""Options of the pretrained model. Imports no torch, since every command reads them."""

from __future__ import annotations

import attrs

from lot import BadInput, Sizes, option
from lot_hf.architecture import Architecture
from lot_hf.files import find_source


@attrs.frozen(kw_only=True)
class PretrainedConfig:
    """Options of a pretrained model."""

    path: str = option(
        help="a folder with config.json and safetensors files, a .gguf file, or the name of a model on the Hugging Face hub"
    )
    revision: str | None = option(None, help="branch, tag or commit of a model on the hub; null: its main branch")
    layers: tuple[int, ...] | None = option(
        None, ge=0, help="layers, counted from 0, whose attention attn chooses; null: all. The others keep their own"
    )
    max_len: int | None = option(None, ge=1, help="longest sequence, in tokens; null: the length that the task has")
    dropout: float = option(
        0.0, ge=0, lt=1, help="probability of dropping embeddings, attention weights and residual branches"
    )
    recompute: bool = option(False, help="recompute activations in backward (activation checkpointing): less memory")

    def architecture(self) -> Architecture:
        """What the files of the model say of it. Raises BadInput where they cannot be had, or tell of another architecture."""
        return find_source(self.path, self.revision).architecture()

    def sizes(self) -> Sizes:
        """What the parts of the model must know of it."""
        found = self.architecture()
        if self.max_len is not None and self.max_len > found.longest:
            raise BadInput(where="max_len", expected=f"at most the model's {found.longest:,}", got=f"{self.max_len:,}")
        return Sizes(
            width=found.width,
            heads=found.heads,
            layers=found.layers,
            slots=self._slots(found.layers),
            mlp=found.mlp,
            owned=frozenset({"embed", "mlp"}),
            max_len=self.max_len,
            vocab_size=found.vocab_size,
            tokens=found.vocab_size if found.tokens is None else found.tokens,
            pretrained=True,
            positions=found.positions,
            dropout=self.dropout,
            details=found.details,
        )

    def _slots(self, layers: int) -> tuple[int, ...] | None:
        if self.layers is None:
            return None
        beyond = [layer for layer in self.layers if layer >= layers]
        if beyond:
            raise BadInput(where="layers", expected=f"layers from 0 to {layers - 1}", got=beyond[0])
        return tuple(sorted(set(self.layers)))
