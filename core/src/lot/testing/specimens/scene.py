"""A small model, and what a diagnostic sees of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lot.builtin.config import CrossEntropyConfig
from lot.builtin.cross_entropy import CrossEntropy
from lot.builtin.plugin import lot_attentions, lot_embeddings
from lot.config.schema import ModelConfig
from lot.contracts import Context, Dims, Output, Probe
from lot.model.decoder import Decoder
from lot.plugins.component import Component
from lot.plugins.registry import registry
from lot.random import initialize, torch_generator
from lot.testing.case import Case, perturb
from lot.testing.specimens.next_token import NextToken
from lot.testing.specimens.samples import sample_signals

B, T, V, LAYERS = 4, 16, 23, 3


@dataclass
class Scene:
    """A small model in evaluation mode, and what a diagnostic sees of it."""

    model: Decoder
    probe: Probe


def make_scene(case: Case, needs: frozenset[str], *, variant: int = 0, step: int = 0) -> Scene:
    """A perturbed decoder and a probe of it; signals that it does not give are made up."""
    task = NextToken(V, T)

    def dims(layer: int) -> Dims:
        return Dims(width=32, heads=4, max_len=T, vocab_size=V, layer=layer, layers=LAYERS)

    attention = case.attention or _giver(case, "attention", needs) or lot_attentions()[0]
    embedding = case.embedding or _giver(case, "embedding", needs) or lot_embeddings()[0]
    attentions = [attention.build(dims(layer)) for layer in range(LAYERS)]
    model = Decoder(embedding.build(dims(0)), attentions, ModelConfig(width=32, heads=4, layers=LAYERS), dims(0))
    initialize(model, 0)
    perturb(model)
    model.eval()
    batch = task.batch("validation", 0, B)
    ctx = Context(torch.tensor(step))

    def gradients() -> dict[str, Tensor]:
        named = dict(model.named_parameters())
        with torch.enable_grad():
            loss = CrossEntropy(CrossEntropyConfig())(model(batch.inputs, ctx), batch, ctx)["cross_entropy"]
            found = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
        return {name: g for name, g in zip(named, found, strict=True) if g is not None}

    with torch.no_grad():
        model.set_want(needs)
        output = model(batch.inputs, ctx)
    sizes = {"B": B, "T": T, "D": 32, "H": 4, "V": V, "L+1": LAYERS + 1}
    missing = sample_signals(case, needs - output.signals.keys(), sizes, variant=variant, spread=1.0)
    signals = {**output.signals, **_detached(missing)}
    probe = Probe(
        model, batch, Output(output.logits, signals), ctx, task, torch_generator(0, "kit", "diagnostic"), gradients
    )
    return Scene(model, probe)


def _giver(case: Case, kind: str, needs: frozenset[str]) -> Component | None:
    """What the diagnostic's own plugin has that gives the most of its needs, or None where that is nothing."""
    if not case.component.distribution:
        return None
    own = [c for c in registry().components(kind) if c.distribution == case.component.distribution and c.emits & needs]
    return max(own, key=lambda c: len(c.emits & needs), default=None)


def _detached(signals: dict[str, Any]) -> dict[str, Any]:
    return {
        name: {layer: v.detach() for layer, v in value.items()} if isinstance(value, dict) else value.detach()
        for name, value in signals.items()
    }
