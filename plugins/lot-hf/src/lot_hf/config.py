"""Options of the pretrained model. Imports no torch, since every command reads them."""

from __future__ import annotations

from typing import Any

import attrs

from lot import BadInput, Sizes, option
from lot_hf.architecture import Architecture, read_architecture
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

    facts: dict[str, Any] | None = option(
        None, help="the content of a config.json, in place of files: a model of that architecture with drawn weights"
    )
    from_checkpoint: bool = option(
        False,
        help="with facts: the weights come from a checkpoint, as in a run whose files are gone, and none is drawn",
    )

    def __attrs_post_init__(self) -> None:
        if self.from_checkpoint and self.facts is None:
            raise BadInput(where="from_checkpoint", expected="false without facts", got="true")

    @property
    def pretrained(self) -> bool:
        """Whether its weights are those of a pretrained model, or were when it began to be trained."""
        return self.facts is None or self.from_checkpoint

    def architecture(self) -> Architecture:
        """What is said of the model. Raises BadInput where its files cannot be had, or tell of another architecture."""
        if self.facts is not None:
            return read_architecture(self.facts, "facts")
        return find_source(self.path, self.revision).architecture()

    def without_files(self) -> PretrainedConfig:
        """Options of the same model without its weights, which need no files."""
        if self.facts is not None:
            return self
        facts = dict(find_source(self.path, self.revision).facts())
        return attrs.evolve(self, facts=facts, revision=None, from_checkpoint=True)

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
            tokens=None if self.facts is not None else found.vocab_size if found.tokens is None else found.tokens,
            pretrained=True,
            positions=found.positions,
            dropout=self.dropout,
            details=found.details,
        )

    def _slots(self, layers: int) -> tuple[int, ...] | None:
        if self.layers is None:
            return None
        if not self.layers:
            raise BadInput(where="layers", expected="a layer, or null for all", got="[]: attn would choose nothing")
        beyond = [layer for layer in self.layers if layer >= layers]
        if beyond:
            raise BadInput(where="layers", expected=f"layers from 0 to {layers - 1}", got=beyond[0])
        return tuple(sorted(set(self.layers)))


def content(config: PretrainedConfig) -> Any:
    """What changes whenever the pretrained model does. Raises BadInput where it is not there."""
    return None if config.facts is not None else find_source(config.path, config.revision).content()
