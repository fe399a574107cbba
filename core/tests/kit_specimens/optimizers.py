"""Optimizers: plain momentum done right, and with a defect each."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import attrs
import torch
from torch import nn

from lot.options.declare import NoOptions, option


@attrs.frozen(kw_only=True)
class ForeachConfig:
    """Options of an optimizer that has two forms."""

    foreach: bool = option(False, help="update all tensors at once")


class Honest(torch.optim.Optimizer):
    """Momentum 0.9, learning rate 0.01, decoupled weight decay 0.1."""

    def __init__(self, config: NoOptions, model: nn.Module) -> None:
        super().__init__(self.chosen(model), {"lr": 0.01, "momentum": 0.9, "decay": 0.1})

    def chosen(self, model: nn.Module) -> list[nn.Parameter]:
        return [p for p in model.parameters() if p.requires_grad]

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self.update(p, group)
        return loss

    def update(self, p: nn.Parameter, group: dict[str, Any]) -> None:
        velocity = self.state[p].setdefault("velocity", torch.zeros_like(p))
        velocity.mul_(group["momentum"]).add_(p.grad)
        p.mul_(1 - group["lr"] * group["decay"]).sub_(group["lr"] * velocity)


class Ascent(Honest):
    """Climbs."""

    def update(self, p: nn.Parameter, group: dict[str, Any]) -> None:
        p.add_(group["lr"] * p.grad)


class MatricesOnly(Honest):
    """Forgets all that is no matrix."""

    def chosen(self, model: nn.Module) -> list[nn.Parameter]:
        return [p for p in model.parameters() if p.requires_grad and p.dim() == 2]


class VectorsAsleep(Honest):
    """Holds vectors and never updates them."""

    def update(self, p: nn.Parameter, group: dict[str, Any]) -> None:
        if p.dim() == 2:
            super().update(p, group)


class HiddenVelocity(Honest):
    """Keeps its velocity beside the state: no checkpoint has it."""

    def update(self, p: nn.Parameter, group: dict[str, Any]) -> None:
        known = self.__dict__.setdefault("velocity", {})
        velocity = known.setdefault(id(p), torch.zeros_like(p))
        velocity.mul_(group["momentum"]).add_(p.grad)
        p.sub_(group["lr"] * velocity)


class ObjectInState(Honest):
    """Keeps an object in the state that JSON cannot hold."""

    def update(self, p: nn.Parameter, group: dict[str, Any]) -> None:
        super().update(p, group)
        self.state[p]["shapes"] = {p.shape}


class ClosureIgnored(Honest):
    """Does not call the closure."""

    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        return super().step()


class ClosureTwice(Honest):
    """Calls the closure, and returns nothing."""

    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        super().step(closure)


class FixedRate(Honest):
    """Reads the learning rate once."""

    def __init__(self, config: NoOptions, model: nn.Module) -> None:
        super().__init__(config, model)
        self.rate = self.param_groups[0]["lr"]

    def update(self, p: nn.Parameter, group: dict[str, Any]) -> None:
        p.sub_(self.rate * p.grad)


class CoupledDecay(Honest):
    """Decays weights whatever the learning rate."""

    def update(self, p: nn.Parameter, group: dict[str, Any]) -> None:
        super().update(p, group)
        p.mul_(1 - 1e-4)


class DecaysWithoutGradient(Honest):
    """Decays parameters that took no part in the step."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        loss = super().step(closure)
        for group in self.param_groups:
            for p in group["params"]:
                p.mul_(1 - group["lr"] * 1e-3)
        return loss


class FailsWithoutGradient(Honest):
    """Takes every gradient for granted."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                self.update(p, group)


class GlobalNoise(Honest):
    """Langevin noise from the global generator."""

    def update(self, p: nn.Parameter, group: dict[str, Any]) -> None:
        super().update(p, group)
        p.add_(1e-4 * group["lr"] * torch.randn_like(p))


class Clock(Honest):
    """A rate that depends on the time of day."""

    def update(self, p: nn.Parameter, group: dict[str, Any]) -> None:
        super().update(p, {**group, "lr": group["lr"] * (1 + 1e-3 * (time.perf_counter_ns() % 1009))})


class NoRate(Honest):
    """Groups without a learning rate."""

    def __init__(self, config: NoOptions, model: nn.Module) -> None:
        super().__init__(config, model)
        for group in self.param_groups:
            group["rate"] = group.pop("lr")


class Foreach(Honest):
    """Two forms that agree."""

    def __init__(self, config: ForeachConfig, model: nn.Module) -> None:
        super().__init__(NoOptions(), model)
        self.foreach = config.foreach


class UnequalForeach(Foreach):
    """Two forms that do not."""

    def update(self, p: nn.Parameter, group: dict[str, Any]) -> None:
        super().update(p, {**group, "momentum": 0.8} if self.foreach else group)


class NoOptimizer:
    """Steps, and is none of torch's optimizers."""

    def __init__(self, config: NoOptions, model: nn.Module) -> None:
        self.param_groups = [{"params": list(model.parameters()), "lr": 0.1}]


@attrs.frozen(kw_only=True)
class RateConfig:
    """Options of an optimizer with the two usual numbers."""

    lr: float = option(0.01, ge=0, help="learning rate")
    weight_decay: float = option(0.1, ge=0, help="decoupled weight decay")


class Rated(Honest):
    """Honest, with options."""

    def __init__(self, config: RateConfig, model: nn.Module) -> None:
        super().__init__(NoOptions(), model)
        for group in self.param_groups:
            group["lr"], group["decay"] = config.lr, config.weight_decay


class RateNotRead(Rated):
    """Leaves its option lr out."""

    def __init__(self, config: RateConfig, model: nn.Module) -> None:
        super().__init__(attrs.evolve(config, lr=0.01), model)


class DecayNotRead(Rated):
    """Leaves its option weight_decay out."""

    def __init__(self, config: RateConfig, model: nn.Module) -> None:
        super().__init__(attrs.evolve(config, weight_decay=0.1), model)


class DecayAway(Rated):
    """Its decay makes weights larger."""

    def update(self, p: nn.Parameter, group: dict[str, Any]) -> None:
        super().update(p, {**group, "decay": -group["decay"]})


class RootRate(Honest):
    """Steps by the root of the learning rate."""

    def update(self, p: nn.Parameter, group: dict[str, Any]) -> None:
        super().update(p, {**group, "lr": group["lr"] ** 0.5})


class KeptRate(Honest):
    """After ten steps, the learning rate that it had then."""

    taken = 0
    rate = 0.0

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        self.taken += 1
        if self.taken == 10:
            self.rate = self.param_groups[0]["lr"]
        return super().step(closure)

    def update(self, p: nn.Parameter, group: dict[str, Any]) -> None:
        super().update(p, {**group, "lr": self.rate if self.taken > 10 else group["lr"]})


class EverySecond(Honest):
    """Gathers the gradients of two steps."""

    taken = 0

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        self.taken += 1
        return super().step(closure) if self.taken % 2 else None


class OwnPass(Honest):
    """Evaluates the model once more by itself."""

    def __init__(self, config: NoOptions, model: nn.Module) -> None:
        super().__init__(config, model)
        self.model = [model]

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        self.model[0].loss(0)
        return super().step(closure)


class ForgetsLate(Honest):
    """After fifty steps, goes slower: by a counter on the object."""

    taken = 0

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        self.taken += 1
        return super().step(closure)

    def update(self, p: nn.Parameter, group: dict[str, Any]) -> None:
        super().update(p, {**group, "lr": group["lr"] * (0.5 if self.taken > 50 else 1.0)})


class ForgetsAverage(Honest):
    """Every twentieth step, back to a slow copy of the weights that no checkpoint has."""

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        loss = super().step(closure)
        self.taken = self.__dict__.get("taken", 0) + 1
        slow = self.__dict__.setdefault("slow", {})
        for p in (p for group in self.param_groups for p in group["params"]):
            kept = slow.setdefault(id(p), p.clone())
            if self.taken % 20 == 0:
                p.copy_(kept.lerp_(p, 0.5))
        return loss
