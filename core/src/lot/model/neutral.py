"""The neutral form of a model's attention: checked against vanilla with the same weights, and held for a whole run."""

from __future__ import annotations

import contextlib
import weakref
from dataclasses import replace

import torch
from torch import Tensor, nn

from lot.builtin.config import VanillaConfig
from lot.builtin.vanilla import Vanilla
from lot.config.schema import Config
from lot.contracts import Attention, Context, Dims, Model
from lot.errors import BadInput
from lot.nn import find_projections
from lot.random import initialize, isolated, torch_generator

TOLERANCE = 1e-5
"""The largest difference from vanilla attention, relative to its largest output, in float32."""
TOKENS = 16
"""Length of the sequences that are compared, at most."""

_held: weakref.WeakKeyDictionary[nn.Module, contextlib.ExitStack] = weakref.WeakKeyDictionary()
"""What ends the neutral form of a model, kept as long as the model lives; no part of it, so that a copy can be made."""


def hold_neutral(model: Model, config: Config) -> None:
    """Let every attention be neutral from here on. Raises BadInput where one cannot."""
    stack = contextlib.ExitStack()
    for layer, attention in model.attentions.items():
        stack.enter_context(_entered(attention, config, layer))
    _held[model] = stack


def is_held(model: nn.Module) -> bool:
    """Whether `hold_neutral` was called for this model."""
    return model in _held


def check_neutral(config: Config, dims: Dims) -> None:
    """Raise BadInput unless the neutral form of every layer is vanilla attention, with parameters away from their start.

    dims: of the model, for any layer.
    """
    seen = []
    for layer, chosen in config.attentions.items():
        if chosen in seen:
            continue
        seen.append(chosen)
        path, here = config.path_of("attn", layer), replace(dims, layer=layer)
        with isolated(config.seed, "neutral"):
            attention: Attention = chosen.create(path, here)
        initialize(attention, config.seed)
        _perturb(attention)
        with _entered(attention, config, layer):
            try:
                off = distance_from_vanilla(attention, here)
            except BadInput as error:
                raise error.under(path) from None
        if not off <= TOLERANCE:
            raise BadInput(
                f"neutral() of {chosen.name} is not neutral: its output differs from vanilla's by {off:.2g} of the largest",
                where=path,
                fix=f"see lot plugins check {chosen.name}, or leave out train.neutral",
            )


def vanilla_twin(attention: Attention, dims: Dims) -> Vanilla:
    """Vanilla attention with the projections of `attention`. Raises BadInput where it has none that fit."""
    found = find_projections(attention)
    if found is None:
        raise BadInput("its neutral form cannot be compared with vanilla: it has no lot.nn.Projections")
    weight, given = found[1].out.weight, found[1].state_dict()
    with isolated(0, "neutral", "twin"):  # constructors draw values that are replaced right below
        twin = Vanilla(VanillaConfig(causal=attention.causal), dims).to(weight.device, weight.dtype)
    try:
        twin.heads.load_state_dict({name: given[name] for name in twin.heads.state_dict()})
    except (KeyError, RuntimeError):
        raise BadInput("its neutral form cannot be compared with vanilla: its projections have other shapes") from None
    return twin.train(attention.training)


@torch.no_grad()
def distance_from_vanilla(attention: Attention, dims: Dims) -> float:
    """The largest difference of y from vanilla's, with and without padding, relative to vanilla's largest output."""
    attention = attention.eval()
    twin = vanilla_twin(attention, dims)
    T = min(TOKENS, dims.max_len)
    x = torch.randn(2, T, dims.width, generator=torch_generator(0, "neutral", "inputs"))
    padding = torch.zeros(2, T, dtype=torch.bool)
    padding[1, : T // 3] = True
    off = [_relative(attention, twin, x, given, ~padding) for given in (None, padding)]
    return float(torch.stack(off).max())  # NaN where one of them is


def _relative(attention: Attention, twin: Vanilla, x: Tensor, padding: Tensor | None, kept: Tensor) -> Tensor:
    ctx = Context(padding=padding)
    y, z = attention(x, ctx)[0][kept], twin(x, ctx)[0][kept]
    off: Tensor = (y - z).abs().max() / z.abs().max()
    return off


@torch.no_grad()
def _perturb(attention: nn.Module) -> None:
    """Move every parameter, so that what starts at zero acts."""
    for name, parameter in attention.named_parameters():
        noise = torch.randn(parameter.shape, generator=torch_generator(0, "neutral", name))
        scale = parameter.shape[-1] ** -0.5 if parameter.dim() > 1 else 0.3
        parameter.add_(scale * noise.to(parameter.dtype))


def _entered(attention: Attention, config: Config, layer: int) -> contextlib.ExitStack:
    """The context `neutral()` of a layer, entered. Raises BadInput under the path of its attention where there is none."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(attention.neutral())
        except BadInput as error:
            error.fix = (
                error.fix or f"choose another than {config.attention_of(layer).name}, or leave out train.neutral"
            )
            raise error.under(config.path_of("attn", layer)) from None
        return stack.pop_all()
