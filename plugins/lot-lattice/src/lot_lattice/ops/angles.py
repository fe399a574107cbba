"""Angles in float32 or wider: in bfloat16 they would be off by whole degrees."""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch import Tensor


def wide(tensor: Tensor) -> Tensor:
    """The tensor in float32 or wider."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def full_precision(tensor: Tensor) -> contextlib.AbstractContextManager[object]:
    """A context in which autocast, where it is on for the device of `tensor`, is off."""
    device = tensor.device.type
    # Entered only where needed: an exported program would carry the context along.
    return torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else contextlib.nullcontext()


def circle(theta: Tensor, dim: int = -1) -> Tensor:
    """cos and sin of angles theta, in that order along a new axis `dim`; backward reads them again."""
    if torch.compiler.is_compiling():
        return torch.stack((theta.cos(), theta.sin()), dim=dim)
    return _Circle.apply(theta, dim)  # type: ignore[no-any-return]


class _Circle(torch.autograd.Function):
    """Both written to where they are read: a stack would copy them."""

    @staticmethod
    def forward(ctx: Any, theta: Tensor, dim: int) -> Tensor:
        shape = list(theta.unsqueeze(dim).shape)
        shape[dim] = 2
        both = theta.new_empty(shape)
        cosine, sine = both.unbind(dim)
        torch.cos(theta, out=cosine)
        torch.sin(theta, out=sine)
        ctx.save_for_backward(both)
        ctx.dim = dim
        return both

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        cosine, sine = ctx.saved_tensors[0].unbind(ctx.dim)
        of_cosine, of_sine = grad.unbind(ctx.dim)
        return of_sine * cosine - of_cosine * sine, None


def random_phases(like: Tensor, generator: torch.Generator) -> Tensor:
    """Angles drawn uniformly from [-pi, pi), shape, dtype and device of `like`; the same on every device."""
    uniform = torch.rand(like.shape, generator=generator, dtype=torch.float64, device=generator.device)
    return ((2 * uniform - 1) * torch.pi).to(like)
