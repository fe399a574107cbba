"""Damped momentum on gradients projected on the singular subspaces of the matrices they belong to."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from lot import Embedding
from lot.random import torch_generator
from lot_wave.config import WaveNativeConfig
from lot_wave.ops.subspace import full_subspaces, project, refine_subspaces, start_basis


class WaveNative(torch.optim.Optimizer):
    """v <- (1 - damping) v - lr g', theta <- (1 - lr weight_decay) theta + v, with g' = c U U^T g V V^T + (1 - c) g.

    With decoupled_weight_decay=False, weight_decay theta joins g before it is projected, and theta is not shrunk.
    U and V span the leading `rank` singular directions of theta (all of them, by SVD at every step, where rank is
    None). Only matrices of groups with `project` are projected; everywhere else g' = g. Subspaces are tracked by one
    step of subspace iteration every `refresh` steps, matrices taking turns, so that no step is much longer than
    another.

    params: parameters or groups, as for every torch optimizer; each option can be set by group. foreach: None chooses.
    Raises ValueError for options out of range. Real parameters and dense gradients only.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 0.1,
        *,
        damping: float = 0.1,
        coherence_weight: float = 0.7,
        rank: int | None = 64,
        refresh: int = 50,
        weight_decay: float = 0.0,
        decoupled_weight_decay: bool = True,
        project: bool = True,
        maximize: bool = False,
        foreach: bool | None = None,
    ) -> None:
        defaults = {
            "lr": lr,
            "damping": damping,
            "coherence_weight": coherence_weight,
            "rank": rank,
            "refresh": refresh,
            "weight_decay": weight_decay,
            "decoupled_weight_decay": decoupled_weight_decay,
            "project": project,
            "maximize": maximize,
            "foreach": foreach,
        }
        super().__init__(params, defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """As torch's; raises ValueError for options out of range and for complex parameters."""
        _check({**self.defaults, **param_group})
        super().add_param_group(param_group)
        if any(p.is_complex() for p in self.param_groups[-1]["params"]):
            raise ValueError("WaveNative: expected real parameters, got complex ones")

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step; returns what `closure` returned. Parameters without gradient are left alone."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            if any(_gradient(p).is_sparse for p in params):
                raise RuntimeError("WaveNative does not support sparse gradients")
            if not params:
                continue
            foreach = group["foreach"]
            if foreach is None:
                foreach = all(type(p) in (Tensor, nn.Parameter) for p in params)
            self._update_subspaces(group, params)
            (self._step_foreach if foreach else self._step_each)(group, params)
        return loss

    def _update_subspaces(self, group: dict[str, Any], params: list[Tensor]) -> None:
        """Count the step; make or renew what projects, where it is due."""
        rank, refresh = group["rank"], group["refresh"]
        turns = {id(p): index for index, p in enumerate(group["params"])}
        for p in params:
            state = self.state[p]
            if not state:
                state["step"] = torch.zeros((), dtype=torch.int64)
                state["velocity"] = torch.zeros_like(p, memory_format=torch.preserve_format)
            step, turn = int(state["step"]), turns[id(p)]
            state["step"] += 1
            if not _projects(group, p):
                continue
            if rank is None:
                state["left"], state["right"] = full_subspaces(p)
                continue
            if "basis" not in state:
                # Only where the iteration starts, so one key for all runs; keyed by turn, so that equal shapes differ.
                state["basis"] = start_basis(p, rank, torch_generator(0, "wave_native", turn))
            elif (step + turn) % refresh:
                continue
            state["left"], state["right"], state["basis"] = refine_subspaces(p, state["basis"], rank)

    def _step_each(self, group: dict[str, Any], params: list[Tensor]) -> None:
        """One parameter after the other, as the formulas stand."""
        lr, c = group["lr"], group["coherence_weight"]
        for p in params:
            state = self.state[p]
            g = _gradient(p)
            if group["maximize"]:
                g = -g
            if not group["decoupled_weight_decay"]:
                g = g + group["weight_decay"] * p
            if _projects(group, p):
                g = c * project(g, state["left"], state["right"]) + (1 - c) * g
            v = state["velocity"]
            v.mul_(1 - group["damping"]).sub_(lr * g)
            if group["decoupled_weight_decay"]:
                p.mul_(1 - lr * group["weight_decay"])
            p.add_(v)

    def _step_foreach(self, group: dict[str, Any], params: list[Tensor]) -> None:
        """All parameters at once; a projected gradient is added to its velocity as a product of thin factors."""
        c, keep = group["coherence_weight"], 1 - group["damping"]
        rate = -group["lr"] if not group["maximize"] else group["lr"]
        gradients = [_gradient(p) for p in params]
        decay, decoupled = group["weight_decay"], group["decoupled_weight_decay"]
        if decay and not decoupled:
            gradients = list(torch._foreach_add(gradients, params, alpha=-decay if group["maximize"] else decay))
        gradient = {id(p): g for p, g in zip(params, gradients, strict=True)}
        projected = [p for p in params if _projects(group, p)]
        plain = [p for p in params if not _projects(group, p)]
        for p in projected:
            state = self.state[p]
            left, right = state["left"], state["right"]
            core = left.mT @ gradient[id(p)] @ right  # (r, r)
            state["velocity"].addmm_(left @ core, right.mT, beta=keep, alpha=rate * c)
        for members, share in ((projected, 1 - c), (plain, 1.0)):
            if not members:
                continue
            velocities = [self.state[p]["velocity"] for p in members]
            if members is plain:
                torch._foreach_mul_(velocities, keep)
            if share:
                torch._foreach_add_(velocities, [gradient[id(p)] for p in members], alpha=rate * share)
            if decay and decoupled:
                torch._foreach_mul_(members, 1 - group["lr"] * decay)
            torch._foreach_add_(members, velocities)


def _gradient(p: Tensor) -> Tensor:
    assert p.grad is not None
    return p.grad


def _projects(group: dict[str, Any], p: Tensor) -> bool:
    """Whether a projection acts on `p`: not where it would be the identity by construction."""
    if not group["project"] or p.dim() != 2 or group["coherence_weight"] == 0 or 0 in p.shape:
        return False
    return group["rank"] is None or group["rank"] < max(p.shape)


def _check(options: dict[str, Any]) -> None:
    for name, low, high in (
        ("lr", 0.0, float("inf")),
        ("weight_decay", 0.0, float("inf")),
        ("coherence_weight", 0.0, 1.0),
    ):
        if not low <= options[name] <= high:
            raise ValueError(f"WaveNative: {name}: expected a number from {low:g} to {high:g}, got {options[name]}")
    if not 0.0 < options["damping"] <= 1.0:
        raise ValueError(f"WaveNative: damping: expected a number above 0, up to 1, got {options['damping']}")
    for name in ("refresh", "rank"):
        number = options[name]
        if (name == "refresh" or number is not None) and not (isinstance(number, int) and number >= 1):
            optional = " or None" if name == "rank" else ""
            raise ValueError(f"WaveNative: {name}: expected a whole number >= 1{optional}, got {number!r}")


def wave_native(config: WaveNativeConfig, model: nn.Module) -> WaveNative:
    """The optimizer over the trainable parameters of `model`, in up to three groups by what their shape means.

    With project=matrices and decay=decoupled, matrices are projected and decay; embedding tables, and
    whatever has more than two dimensions, decay; vectors, scalars and what else an embedding holds
    (angles and amplitudes, which have no reason to be small) do neither.
    With project=all everything of two dimensions is projected; with decay=l2 every parameter decays.
    """
    tables, waves = set(), set()
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            tables |= {id(p) for p in module.parameters(recurse=False)}
        elif isinstance(module, Embedding):
            waves |= {id(p) for p in module.parameters(recurse=False)}
    trainable = [p for p in model.parameters() if p.requires_grad]
    free = [p for p in trainable if p.dim() < 2 or id(p) in waves]
    others = [p for p in trainable if p.dim() >= 2 and id(p) not in waves and (p.dim() > 2 or id(p) in tables)]
    chosen = {id(p) for p in (*free, *others)}
    decay, everything = config.weight_decay, config.project == "all"
    groups = [
        {"params": [p for p in trainable if id(p) not in chosen], "project": True, "weight_decay": decay},
        {"params": others, "project": everything, "weight_decay": decay},
        {"params": free, "project": everything, "weight_decay": decay if config.decay == "l2" else 0.0},
    ]
    return WaveNative(
        [group for group in groups if group["params"]],
        lr=config.lr,
        damping=config.damping,
        coherence_weight=config.coherence_weight,
        rank=config.rank,
        refresh=config.refresh,
        decoupled_weight_decay=config.decay == "decoupled",
        foreach=config.foreach,
    )
