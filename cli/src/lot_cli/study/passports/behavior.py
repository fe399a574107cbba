"""What a composed arm does in its first steps: what training changes beside weights, and whether its gradients are those of
its loss.

A part that is sound by itself can still act on the whole: by hooks, by what it keeps, by running the model again.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lot.builtin.cross_entropy import CrossEntropy
from lot.config.schema import Config
from lot.contracts import Batch, Context, Model, Output
from lot.nn import Documents, context
from lot.random import derive
from lot.training.compose import Composition
from lot.training.module_state import ModuleState
from lot_cli.study.analysis.cost import count_operations
from lot_cli.study.design.passport import Behavior
from lot_cli.study.design.plan import digest, source_digest
from lot_cli.study.passports.part import at_default_rate, code_of
from lot_cli.study.passports.store import Store

STEPS = 3
"""Of training, to see what they change."""
SEQUENCES = 4
"""Of a batch, at most."""
CHANGE = 1e-3
"""How far a central difference moves the loss, relative to it: far above rounding, far below curvature."""
FARTHEST = 0.05
"""The longest step of a difference, relative to the size of what is moved."""
AGREEMENT = 0.02
"""Differences of one and of half the step must agree to this, or nothing can be told."""

Loss = Callable[[], Tensor]


def behavior_of(composition: Composition, device: str, store: Store) -> tuple[Behavior, bool]:
    """What the arm of `composition` does, and whether it was measured now; what is kept is not measured again."""
    key = behavior_key(composition.config, device)
    kept = store.get(Behavior, key)
    if kept is not None:
        return kept, False
    found = _measure(composition, torch.device(device), key)
    store.put(found)
    return found, True


def behavior_key(config: Config, device: str) -> str:
    """The key of a measurement. Learning rate and schedule are no part of it: it is made at the default rate."""
    tree = config.to_dict()
    shown = ("seed", "task", "model", "embed", "attn", "mlp", "losses")
    chosen = [config.task, config.model, *config.parts, config.optim, *config.losses.values()]
    content = {
        **{section: tree.get(section) for section in shown},
        "optim": at_default_rate(config.optim).table(),
        "steps": config.train.steps,
        "batch": min(SEQUENCES, config.train.batch_size),
        "neutral": tree["train"].get("neutral", False),
        "device": device,
        "counting": source_digest("lot_cli.study.analysis.cost"),
        **code_of(chosen, device),
    }
    return digest(content)[:32]


def _measure(composition: Composition, device: torch.device, key: str) -> Behavior:
    config, model = composition.config, composition.model.to(device)
    optimizer = at_default_rate(config.optim).create("optim", model)
    trial = _Trial(composition, device)
    gradients, unresolved, objective = trial.gradients()
    with _counted(model, getattr(config.model.options, "recompute", False)) as calls:
        state, acting = trial.train(optimizer, calls)
    return Behavior(
        key=key,
        weights=composition.parameters,
        state=state,
        acting=acting,
        gradients=gradients,
        unresolved=unresolved,
        objective=objective,
        passes=max(1, math.ceil(round(trial.passes, 6))),
        flops_per_token=count_operations(config, device.type)["flops_per_token"],
    )


class _Trial:
    """The first steps of an arm, on small batches of its own task."""

    def __init__(self, composition: Composition, device: torch.device) -> None:
        self.composition, self.device, self.model = composition, device, composition.model
        self.passes = 0.0  # of the model, or of the busiest mechanism, in a step of training

    def loss(self, index: int, step: int, *, training: bool = True) -> tuple[Tensor, Tensor, Batch]:
        """The objective () on a training batch as at `step`, the logits, and the batch; equal calls have equal noise."""
        config = self.composition.config
        batch = self.composition.task.batch("train", index, min(SEQUENCES, config.train.batch_size), self.device)
        ctx = context(batch, torch.full((), step, device=self.device))
        self.model.train(training)
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(derive(config.seed, "passport", index, step) >> 1)
            output = self.model(batch.inputs, ctx)
            if output.logits.requires_grad:
                output.logits.retain_grad()
            total, _ = self.composition.objective(output, batch, ctx, step)
        return total, output.logits, batch

    def gradients(self) -> tuple[dict[str, float], list[str], float | None]:
        """The gradient of each part over what differences say, parts that cannot be told, and the scale of the objective.

        In float64, at the first step and in the middle of training; the ratio that is farthest from 1 counts.
        """
        found: dict[str, float] = {}
        unresolved: set[str] = set()
        scale = None
        values = {name: p.detach().clone() for name, p in self.model.named_parameters()}
        state = ModuleState(self.model)
        self.model.double()
        for step in dict.fromkeys((0, self.composition.config.train.steps // 2)):
            total, logits, batch = self.loss(0, step)
            total.backward()  # type: ignore[no-untyped-call]
            scale = _objective_scale(logits, batch) if scale is None else scale
            steps = {n: None if p.grad is None else p.grad.detach().clone() for n, p in self.model.named_parameters()}
            self.model.zero_grad()
            for part, names in _parts(self.model).items():
                direction = {name: g for name in names if (g := steps[name]) is not None}
                ratio = self._ratio(direction, float(total.detach()), step) if direction else None
                if ratio is None:
                    unresolved.add(part)
                elif abs(math.log(ratio)) >= abs(math.log(found.get(part, 1.0))):
                    found[part] = ratio
        self.model.float()
        with torch.no_grad():
            for name, p in self.model.named_parameters():
                p.copy_(values[name])
        state.restore()
        return found, sorted(unresolved - found.keys()), scale

    def _ratio(self, gradient: dict[str, Tensor], loss: float, step: int) -> float | None:
        """The norm of a gradient over the slope of the loss along it: 1 for one that is right; None where none can be told."""
        parameters = dict(self.model.named_parameters())
        norm = math.sqrt(sum(float(g.double().square().sum()) for g in gradient.values()))
        size = math.sqrt(sum(float(parameters[name].detach().double().square().sum()) for name in gradient))
        if not math.isfinite(norm) or norm == 0 or not math.isfinite(loss):
            return None
        distance = min(CHANGE * abs(loss) / norm, FARTHEST * max(size, 1.0))

        @torch.no_grad()
        def at(signed: float) -> float:
            kept = {name: parameters[name].detach().clone() for name in gradient}
            for name, g in gradient.items():
                parameters[name].add_(g, alpha=signed / norm)
            value = float(self.loss(0, step)[0])
            for name, before in kept.items():
                parameters[name].copy_(before)
            return value

        slopes = [(at(d) - at(-d)) / (2 * d) for d in (distance, distance / 2)]
        if not all(map(math.isfinite, slopes)) or slopes[1] <= 0:
            return None
        if abs(slopes[0] - slopes[1]) > AGREEMENT * abs(slopes[1]):
            return None
        return norm / slopes[1]

    def train(self, optimizer: torch.optim.Optimizer, calls: dict[str, float]) -> tuple[dict[str, int], list[str]]:
        """What a few steps change beside weights, with how many numbers it has; and which of it acts in an evaluation."""
        with torch.no_grad():
            self.loss(STEPS, 0)  # tables that depend on lengths alone are made now
            self.loss(STEPS, 0, training=False)
        before = ModuleState(self.model)
        for step in range(STEPS):
            calls.clear()
            total, _, _ = self.loss(step, step)
            total.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            self.passes = max(self.passes, *calls.values())
        changed = {name: size for name in before.changed() if (size := _numbers(_value(self.model, name)))}
        if not changed:
            return {}, []
        with torch.no_grad():
            as_trained = self.loss(0, STEPS, training=False)[1]
            before.restore()
            as_before = self.loss(0, STEPS, training=False)[1]
        return changed, [] if torch.equal(as_trained, as_before) else sorted(changed)


def _parts(model: Model) -> dict[str, list[str]]:
    """Names of the trained parameters of the embedding, of each attention and MLP, and of the rest of the model."""
    found: dict[str, list[str]] = {}
    mechanisms = _mechanisms(model)
    for name, p in model.named_parameters():
        part = next((path for path in mechanisms if name.startswith(f"{path}.")), "decoder")
        if p.requires_grad:
            found.setdefault(part, []).append(name)
    return found


def _mechanisms(model: Model) -> dict[str, nn.Module]:
    """The parts that a configuration may choose, by their path in the model."""
    paths = {id(module): path for path, module in model.named_modules()}
    parts = [model.embedding, *model.attentions.values(), *model.mlps.values()]
    return {paths[id(part)]: part for part in parts}


def _objective_scale(logits: Tensor, batch: Batch) -> float | None:
    """The gradient of the objective on the logits along that of cross-entropy, in units of it; None where either is 0."""
    free = logits.detach().clone().requires_grad_()
    loss = CrossEntropy().terms(Output(free, {}), batch, Context(padding=batch.padding))["cross_entropy"]
    (plain,) = torch.autograd.grad(loss, free)
    size = float(plain.double().square().sum())
    if logits.grad is None or not size:
        return None
    scale = float((logits.grad.double() * plain.double()).sum()) / size
    return scale if math.isfinite(scale) else None


@contextlib.contextmanager
def _counted(model: Model, recompute: bool) -> Iterator[dict[str, float]]:
    """Counts the passes of the model and of each of its mechanisms while it lasts; recomputed ones count as one.

    So do the calls of a mechanism for the groups of documents that share rows.
    """
    calls: dict[str, float] = {}
    documents: Documents | None = None
    handles = []
    for name, module in {"": model, **_mechanisms(model)}.items():
        share = 0.5 if recompute and module not in (model, model.embedding) else 1.0

        def count(called: nn.Module, arguments: tuple[Any, ...], name: str = name, share: float = share) -> None:
            nonlocal documents
            if called is model:
                documents = arguments[1].documents if len(arguments) > 1 else None
            elif documents is not None and not getattr(called, "segments", True):
                share /= len(documents.layout_for(called).shapes)
            calls[name] = calls.get(name, 0.0) + share

        handles.append(module.register_forward_pre_hook(count))
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def _value(model: nn.Module, name: str) -> object:
    """The buffer or attribute `name`, a dotted path within the model; None where it is gone."""
    path, _, key = name.rpartition(".")
    module = model.get_submodule(path)
    return module._buffers[key] if key in module._buffers else vars(module).get(key)


def _numbers(value: object) -> int:
    """How many numbers a value holds."""
    if isinstance(value, (Tensor, np.ndarray)):
        return int(np.prod(value.shape))
    if isinstance(value, dict):
        return sum(map(_numbers, value.values()))
    if isinstance(value, (list, tuple)):
        return sum(map(_numbers, value))
    return int(isinstance(value, (int, float)))
