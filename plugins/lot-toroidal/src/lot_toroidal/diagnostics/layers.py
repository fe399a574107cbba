"""Finding the toroidal layers of a model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from lot import Attention, Context, Probe

Kind = TypeVar("Kind", bound=Attention)


def layers_of(model: nn.Module, kind: type[Kind]) -> Iterator[tuple[int, Kind]]:
    """The attentions of `model` that are of `kind`, each with its layer, in order of depth."""
    for module in model.modules():
        if isinstance(module, kind):
            dims: Any = module.dims
            yield dims.layer, module


def captured_inputs(probe: Probe, modules: list[Kind]) -> list[tuple[Tensor, Context]]:
    """What each of `modules` is given in a pass of the probe's model over its batch: x (B, T, D) and the context.

    Where documents share rows it is called for documents of several lengths: with the longest first, which count.
    """
    found: dict[nn.Module, tuple[Tensor, Context]] = {}

    def note(module: nn.Module, arguments: tuple[Tensor, Context]) -> None:
        found.setdefault(module, (arguments[0].detach(), arguments[1]))

    handles = [module.register_forward_pre_hook(note) for module in modules]
    try:
        with torch.no_grad():
            probe.model(probe.batch.inputs, probe.ctx)
    finally:
        for handle in handles:
            handle.remove()
    return [found[module] for module in modules]
