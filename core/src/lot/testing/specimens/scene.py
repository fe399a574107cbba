"""A small model and what a diagnostic sees of it, so that diagnostics are checked without a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lot.builtin.cross_entropy import CrossEntropy
from lot.builtin.plugin import lot_attentions, lot_embeddings
from lot.contracts import Context, Dims, Output, Probe
from lot.model.decoder import Decoder
from lot.plugins.component import Component
from lot.plugins.registry import registry
from lot.random import initialize, torch_generator
from lot.testing.case import Case
from lot.testing.draws import perturb
from lot.testing.specimens.next_token import NextToken
from lot.testing.specimens.samples import mapped, sample_signals

B, T, V, LAYERS = 4, 16, 23, 3


@dataclass
class Scene:
    """A small model in evaluation mode, and what a diagnostic sees of it."""

    model: Decoder
    probe: Probe


def make_scene(case: Case, needs: frozenset[str], *, variant: int = 0, step: int = 0, far: float = 1.0) -> Scene:
    """A perturbed decoder of three layers, and a probe of it.

    needs: the signals of the probe; those that the decoder does not give are made up. variant: of their shapes.
    step: the optimizer step that the modules are told. far: how many times as far as usual parameters are moved.
    """
    task = NextToken(V, T)

    def dims(layer: int) -> Dims:
        return Dims(width=32, heads=4, max_len=T, vocab_size=V, layer=layer, layers=LAYERS)

    attention = case.attention or _giver(case, "attention", needs) or lot_attentions()[0]
    embedding = case.embedding or _giver(case, "embedding", needs) or lot_embeddings()[0]
    attentions = [attention.build(dims(layer)) for layer in range(LAYERS)]
    model = Decoder.around(embedding.build(dims(0)), attentions, dims(0))
    initialize(model, 0)
    perturb(model, times=far)
    model.eval()
    batch = task.batch("validation", 0, B)
    ctx = Context(torch.tensor(step))

    def gradients() -> dict[str, Tensor]:
        named = dict(model.named_parameters())
        with torch.enable_grad():
            loss = CrossEntropy().terms(model(batch.inputs, ctx), batch, ctx)["cross_entropy"]
            found = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
        return {name: g for name, g in zip(named, found, strict=True) if g is not None}

    with torch.no_grad():
        model.set_want(needs)
        output = model(batch.inputs, ctx)
    sizes = {"B": B, "T": T, "D": 32, "H": 4, "V": V, "L+1": LAYERS + 1}
    missing = sample_signals(case, needs - output.signals.keys(), sizes, variant=variant, spread=1.0)
    signals = {**output.signals, **mapped(missing, lambda _, signal: signal.detach())}
    probe = Probe(
        model, batch, Output(output.logits, signals), ctx, task, torch_generator(0, "kit", "diagnostic"), gradients
    )
    return Scene(model, probe)


def _giver(case: Case, kind: str, needs: frozenset[str]) -> Component | None:
    """The component of the diagnostic's own plugin that gives most of its needs, or None where no component gives any."""
    if not case.component.distribution:
        return None
    own = [c for c in registry().components(kind) if c.distribution == case.component.distribution and c.emits & needs]
    return max(own, key=lambda c: len(c.emits & needs), default=None)


def state_of(scene: Scene) -> dict[str, Any]:
    """All that a diagnostic must leave as it was, by a name for messages: copies of tensors, and plain values.

    These are the weights, gradients, modes, hooks and wanted signals of the model, and the tokens of the batch.
    """
    model, batch = scene.model, scene.probe.batch
    found: dict[str, Any] = {f"value of {name}": v.detach().clone() for name, v in model.state_dict().items()}
    for name, p in model.named_parameters():
        found[f"gradient of {name}"] = None if p.grad is None else p.grad.clone()
        found[f"requires_grad of {name}"] = p.requires_grad
    for name, module in model.named_modules():
        label = name or "the model"
        found[f"mode of {label}"] = module.training
        found[f"hooks of {label}"] = sum(
            len(getattr(module, hooks)) for hooks in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")
        )
        if hasattr(module, "want"):
            found[f"wanted signals of {label}"] = module.want
    found["inputs"], found["targets"] = batch.inputs.clone(), batch.targets.clone()
    return found


def same_state(a: Any, b: Any) -> bool:
    """Whether two values of `state_of` are equal, bit by bit where they are tensors."""
    return torch.equal(a, b) if isinstance(a, Tensor) and isinstance(b, Tensor) else type(a) is type(b) and a == b
