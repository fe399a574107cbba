"""A pretrained model: LOT's own decoder with the weights of a model of transformers, and your attention in chosen layers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from lot import MLP, Attention, BadInput, Decoder, Dims, GeneratorFor, Parts, registry
from lot_hf.architecture import Architecture
from lot_hf.config import PretrainedConfig
from lot_hf.files import find_source
from lot_hf.graft import graft, tell, vanilla
from lot_hf.names import HEAD, Origin, plain_names, projections, trunk
from lot_hf.weights import Weights


class Pretrained(Decoder):
    """The decoder of a pretrained model.

    The configuration chooses the attention of the layers in `PretrainedConfig.layers`; the other layers keep theirs, and
    every layer its MLP.
    """

    def __init__(self, config: PretrainedConfig, parts: Parts) -> None:
        found = config.architecture()
        _check(parts.dims, found)
        dims = replace(parts.dims, vocab_size=found.vocab_size)
        attentions = {
            layer: parts.attentions[layer] if layer in parts.attentions else vanilla(replace(dims, layer=layer))
            for layer in range(found.layers)
        }
        options = registry().get("model", "lot-core:decoder").configure(
            **found.options, dropout=config.dropout, recompute=config.recompute, max_len=dims.max_len
        )  # fmt: skip
        embedding = _part("embedding", "token", dims)
        super().__init__(options, Parts(dims, embedding, attentions, _mlps(found, dims)))
        self.config, self.architecture = config, found
        self.grafts = [
            graft(layer, attention, projections(found, layer), dims) for layer, attention in parts.attentions.items()
        ]
        self.origins = self._origins() if config.pretrained else {}
        self.loaded = frozenset(self.origins)
        self._told: list[str] = []

    def _origins(self) -> dict[str, Origin]:
        """Where each parameter comes from that has a pretrained value."""
        found = trunk(self.architecture)
        grafted = {one.layer: one.taken for one in self.grafts}
        for layer in range(self.architecture.layers):
            own = {f"heads.{name}": origin for name, origin in projections(self.architecture, layer).items()}
            taken = grafted.get(layer, own)
            found |= {f"blocks.{layer}.attention.{name}": origin for name, origin in taken.items()}
        return found

    @property
    def attentions(self) -> dict[int, Attention]:
        """The attention of each layer in `PretrainedConfig.layers`."""
        return {one.layer: one.attention for one in self.grafts}

    @property
    def mlps(self) -> dict[int, MLP]:
        """None: the model brings its own."""
        return {}

    def reset_parameters(self, generator_for: GeneratorFor) -> None:
        """The pretrained values; what a grafted attention has beside them is drawn. Raises BadInput for damaged files.

        Without files, the pretrained values are left to whoever loads a checkpoint.
        """
        if not self.config.pretrained:
            super().reset_parameters(generator_for)
            return
        for one in self.grafts:
            prefix = f"blocks.{one.layer}.attention."
            one.attention.reset_parameters(lambda name, prefix=prefix: generator_for(prefix + name))  # type: ignore[misc]
        if self.config.facts is not None:
            return  # the rest is that of a checkpoint
        try:
            self._load(find_source(self.config.path, self.config.revision).weights())
        except BadInput as error:
            raise error.under("model") from None
        self._told = tell(self.grafts, self.dims)

    def describe(self) -> str:
        """What the model is, and what each grafted attention took over from it, in a line."""
        found = self.architecture
        if not self.config.pretrained:
            return f"not pretrained: the architecture {found.family}, {found.layers} layers, with drawn weights"
        return "; ".join((f"pretrained: {self.config.path} ({found.family}, {found.layers} layers)", *self._told))

    @torch.no_grad()
    def _load(self, weights: Weights) -> None:
        """Copy every pretrained value. Raises BadInput where the files hold less, more or other shapes."""
        files = plain_names(self.architecture.family, weights.names)
        parameters = dict(self.named_parameters())
        used = set(self._left_out())
        for name, origin in self.origins.items():
            missing = [one for one in origin.names if one not in files]
            if missing:
                raise BadInput(f"{weights.where}: holds no {missing[0]}", where="path", fix="fetch it again")
            value = torch.cat([weights.read(files[one]) for one in origin.names])
            value = value.T if origin.transposed else value
            parameter = parameters[name]
            if name == "positions.weight":
                value = value[: parameter.shape[0]]  # a shorter model has the first positions
            if value.shape != parameter.shape:
                raise BadInput(
                    where=f"path: {weights.where}: {origin.names[0]}",
                    expected=f"shape {list(parameter.shape)}, as the sizes of the model say",
                    got=str(list(value.shape)),
                    fix="fetch it again",
                )
            parameter.copy_(value)
            used.update(origin.names)
        if unknown := sorted(files.keys() - used):
            raise BadInput(
                f"{weights.where}: {len(unknown)} tensors, such as {unknown[0]}, have no place in a model of the family "
                f"{self.architecture.family}: it is a variant that LOT does not compute",
                where="path",
            )

    def _left_out(self) -> set[str]:
        """Names of tensors that are there for a reason, and not used."""
        grafted = (one.layer for one in self.grafts if not one.taken)
        replaced = {
            name
            for layer in grafted
            for origin in projections(self.architecture, layer).values()
            for name in origin.names
        }
        return replaced | ({f"{HEAD}.weight"} if self.architecture.tied else set())


def _check(dims: Dims, found: Architecture) -> None:
    """Refuse what the model was not trained for."""
    if not dims.causal:
        raise BadInput(
            where="path", expected="a causal task, for pretrained decoders are causal", got="one that is not"
        )
    if dims.max_len > found.longest:
        raise BadInput(
            where="model.max_len",
            expected=f"at most the {found.longest:,} tokens of the pretrained model",
            got=f"{dims.max_len:,}",
            fix="choose a shorter task.seq_len",
        )


def _mlps(found: Architecture, dims: Dims) -> dict[int, MLP]:
    inner = replace(dims, bias=found.mlp_bias)
    return {layer: _part("mlp", found.mlp, replace(inner, layer=layer)) for layer in range(found.layers)}


def _part(kind: str, name: str, dims: Dims) -> Any:
    component = registry().get(kind, f"lot-core:{name}")
    return component.create(component.configure(), dims)
