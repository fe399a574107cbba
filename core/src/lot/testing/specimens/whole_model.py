"""A model with vanilla attention in its slots and its default MLP: what a model is checked with."""

from __future__ import annotations

from dataclasses import replace

import torch

from lot.builtin.plugin import lot_attentions, lot_embeddings, lot_mlps
from lot.contracts import MLP, Model, Parts
from lot.model.build import dims_of
from lot.plugins.component import Component
from lot.plugins.registry import registry
from lot.plugins.sizes import Sizes
from lot.testing.case import Case
from lot.testing.draws import perturb
from lot.testing.failure import KitFailure

LENGTH, VOCABULARY = 24, 23


def sizes_of(case: Case) -> Sizes:
    """What the options of a model say of it. Raises KitFailure where they do not."""
    config = case.component.configure(**case.options)
    if not callable(getattr(config, "sizes", None)):
        raise KitFailure(
            f"configuration class {type(config).__name__}",
            expected="a method `sizes() -> lot.Sizes`, so that its parts can be chosen before it is built",
            got="none",
        )
    sizes = config.sizes()
    if not isinstance(sizes, Sizes):
        raise KitFailure("sizes()", expected="a lot.Sizes", got=type(sizes).__name__)
    return sizes


def whole_model(
    case: Case,
    *,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    perturbed: bool = True,
    training: bool = False,
) -> Model:
    """The model of a case. perturbed: whether parameters that are not loaded are moved away from their initial values."""
    sizes = sizes_of(case)
    dims = dims_of(sizes, max_len=LENGTH, vocab_size=VOCABULARY)
    embedding = None if "embed" in sizes.owned else lot_embeddings()[0].build(dims, seed=seed)
    attentions = {
        layer: lot_attentions()[0].build(replace(dims, layer=layer), seed=seed) for layer in sizes.attention_layers
    }
    mlp = _mlp(sizes.mlp) if sizes.mlp_layers else None
    mlps: dict[int, MLP] = (
        {} if mlp is None else {layer: mlp.build(replace(dims, layer=layer), seed=seed) for layer in sizes.mlp_layers}
    )
    model: Model = case.build(Parts(dims, embedding, attentions, mlps), seed=seed)
    if perturbed:
        perturb(model)
    return model.to(case.device, dtype).train(training)


def _mlp(name: str) -> Component:
    own = {component.name: component for component in lot_mlps()}
    return own[name] if name in own else registry().get("mlp", name)
