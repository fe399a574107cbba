"""The core's optimizers: those of torch, with the parameter groups that GPT-like models need."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from lot.builtin.config import AdamWConfig, MuonConfig


def parameter_groups(parameters: list[nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    """Two groups: matrices, which decay, and vectors and scalars, which do not; an empty group is left out."""
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def _fused(parameters: list[nn.Parameter]) -> bool:
    return all(p.is_floating_point() and p.device.type in ("cpu", "cuda", "xpu", "mps") for p in parameters)


def adamw(config: AdamWConfig, model: nn.Module) -> torch.optim.AdamW:
    """torch's AdamW over the trainable parameters of `model`, fused on devices that have it."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    return torch.optim.AdamW(
        parameter_groups(parameters, config.weight_decay),
        lr=config.lr,
        betas=config.betas,
        eps=config.eps,
        fused=_fused(parameters),
    )


class MuonWithAdamW(torch.optim.Optimizer):
    """torch's Muon on the hidden matrices (those inside blocks), torch's AdamW on everything else.

    `param_groups` are those of both, so that a schedule reaches each; the state is kept and saved by the two.
    """

    def __init__(self, config: MuonConfig, model: nn.Module) -> None:
        named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        inside = [(name, p) for name, p in named if "blocks." in name and p.dim() == 2]
        # A model that has no blocks (a bare module) has no embedding or head to leave out either.
        hidden = inside if any("blocks." in name for name, _ in named) else [(n, p) for n, p in named if p.dim() == 2]
        chosen = {id(p) for _, p in hidden}
        rest = [p for _, p in named if id(p) not in chosen]
        self.parts: list[torch.optim.Optimizer] = []
        if hidden:
            self.parts.append(
                torch.optim.Muon(
                    [p for _, p in hidden],
                    lr=config.matrix_lr,
                    momentum=config.momentum,
                    nesterov=config.nesterov,
                    weight_decay=config.weight_decay,
                )
            )
        if rest:
            self.parts.append(
                torch.optim.AdamW(
                    parameter_groups(rest, config.weight_decay),
                    lr=config.lr,
                    betas=config.betas,
                    eps=config.eps,
                    fused=_fused(rest),
                )
            )
        super().__init__([group for part in self.parts for group in part.param_groups], {})
        # The very groups of the parts: what a schedule writes here is what they read.
        self.param_groups = [group for part in self.parts for group in part.param_groups]

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step of both; returns what `closure` returned."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for part in self.parts:
            part.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """The states of both."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore what `state_dict` returned. Raises ValueError for another number of parts or groups."""
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self.param_groups = [group for part in self.parts for group in part.param_groups]
