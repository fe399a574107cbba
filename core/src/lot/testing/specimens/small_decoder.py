"""A decoder around the attention under test: some defects show only between its layers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lot.builtin.plugin import lot_embeddings
from lot.contracts import Dims
from lot.model.decoder import Decoder
from lot.plugins.component import Component
from lot.random import initialize, isolated
from lot.testing.draws import perturb

LAYERS = 2


def small_decoder(attention: Component, options: Mapping[str, Any], dims: Dims) -> Decoder:
    """A decoder of two layers with this attention, its parameters moved away from their initial values."""
    dims = replace(dims, layers=LAYERS, positions="learned")
    attentions = [attention.build(replace(dims, layer=layer), **options) for layer in range(LAYERS)]
    (token,) = lot_embeddings()
    with isolated(0, "kit", "decoder"):  # constructors draw values that are set right below
        first = replace(dims, layer=0)
        model = Decoder.around(token.build(first), attentions, first)
    initialize(model, 0)
    perturb(model)
    return model
